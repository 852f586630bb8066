// Compares every map of test/fixtures/family/golden.json with ours and writes the sections on them of docs/parity.md. Run
// with: npm run build && node tools/compare/parity_table.mjs
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as exported from '../../dist/lib/index.js';
import { familyPath, floatsOf, tensorOf, toTarget } from '../../dist/test/helpers/family.js';

const gradcam = { ...exported };

const fileIn = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const { cases } = JSON.parse(readFileSync(familyPath('golden.json'), 'utf8'));

// Our classes have the names that the fixtures use.
const comparedMethods = [
  'GradCAM',
  'HiResCAM',
  'GradCAMElementWise',
  'GradCAMPlusPlus',
  'XGradCAM',
  'LayerCAM',
  'ShapleyCAM',
  'FinerCAM',
  'RefineCAM',
  'EigenCAM',
  'EigenGradCAM',
  'SegEigenCAM',
  'KPCACAM',
  'FEM',
  'ScoreCAM',
  'AblationCAM',
  'FullGrad',
  'CAM',
  'SmoothGradCAMPlusPlus',
].filter((name) => name in gradcam);
const baseNames = { GradCAM: 'gradcam', GradCAMPlusPlus: 'gradcam++', LayerCAM: 'layercam' };

/** The options of our class for the options of a case. */
function methodOptions({ options = {} }) {
  const { reshapeTransform, augSmooth, eigenSmooth, targetClass, baseMethod, noise, weights, ...rest } =
    options;
  return {
    ...rest,
    ...(reshapeTransform ? { reshapeTransform } : {}),
    ...(baseMethod ? { base: baseNames[baseMethod] } : {}),
    ...(noise ? { noise: tensorOf(noise), samples: noise.shape[0] } : {}),
  };
}

/** The largest difference of our maps from the float64 result. */
async function errorOf(golden, optimize) {
  const dtype = golden.inputDtype ? { dtype: golden.inputDtype } : {};
  const model = await gradcam.loadModel(familyPath(golden.model), dtype);
  try {
    const { augSmooth = false, eigenSmooth = false, targetClass } = golden.options ?? {};
    const cam = new gradcam[golden.method]({
      model,
      optimize,
      ...(golden.targetLayers?.length ? { targetLayers: golden.targetLayers } : {}),
      ...(golden.output === undefined ? {} : { output: golden.output }),
      ...methodOptions(golden),
    });
    const ofImages = targetClass === undefined ? golden.targets : [[targetClass]];
    const targets = ofImages && (await Promise.all(ofImages.map((list) => Promise.all(list.map(toTarget)))));
    const inputs = (golden.inputs ?? [golden.input]).map(tensorOf);
    const smoothing = { augSmooth, eigenSmooth };
    const { heatmaps } = await cam.explain(inputs, { ...smoothing, ...(targets ? { targets } : {}) });
    const expected = floatsOf(golden.expected.heatmaps);
    const ours = heatmaps.toTypedArray();
    if (ours.length !== expected.length)
      throw new Error(`${ours.length} values instead of ${expected.length}`);
    return ours.reduce((largest, value, index) => Math.max(largest, Math.abs(value - expected[index])), 0);
  } finally {
    await model.dispose();
  }
}

async function compare(golden) {
  const reference = golden.referenceError.heatmaps;
  try {
    const [fast, plain] = [await errorOf(golden, true), await errorOf(golden, false)];
    return { golden, reference, fast, plain, error: Math.max(fast, plain) };
  } catch (error) {
    return { golden, reference, failure: error.code ?? error.message };
  }
}
const allowed = ({ reference }) => 4 * reference + 1e-5;

const exponential = (value) => (value === 0 ? '0' : value.toExponential(1));
const modelName = ({ model }) => model.replace('.pt', '');
const worstReference = (results) => exponential(Math.max(...results.map(({ reference }) => reference)));
const inOrder = (values) => [...new Set(values)];
const row = (cells) => `| ${cells.join(' | ')} |`;
const table = (head, rows) => [row(head), row(head.map(() => '---')), ...rows.map(row)].join('\n');

/** Of each method on each model the largest errors of its cases: ours, and the reference's own. */
function overview(results) {
  const models = inOrder(results.map(({ golden }) => modelName(golden)));
  const rows = inOrder(results.map(({ golden }) => golden.method)).map((method) => [
    method,
    ...models.map((model) => {
      const cell = results.filter(({ golden }) => golden.method === method && modelName(golden) === model);
      if (cell.length === 0) return '';
      const failed = cell.filter(({ failure }) => failure).length;
      const errors = cell.flatMap(({ error }) => error ?? []);
      const worst = errors.length > 0 ? `${exponential(Math.max(...errors))} / ${worstReference(cell)}` : '';
      return [worst, failed ? `${failed} failed` : ''].filter(Boolean).join(', ');
    }),
  ]);
  return table(['method', ...models], rows);
}

gradcam.setThreads({ intraOpThreads: 1 }); // the models are tiny

const compared = [];
for (const golden of cases.filter(
  ({ expected, method }) => expected.heatmaps && comparedMethods.includes(method),
)) {
  process.stderr.write(`\r${compared.length + 1}: ${golden.name.padEnd(50)}`);
  compared.push(await compare(golden));
}
process.stderr.write('\n');

const isLibrary = ({ golden }) => golden.source.startsWith('pytorch-grad-cam');
const succeeded = compared.filter(({ failure }) => failure === undefined);
const within = succeeded.filter((result) => result.error <= allowed(result));
const others = inOrder(
  cases.filter(({ method }) => !comparedMethods.includes(method)).map(({ method }) => method),
);
const library = succeeded.filter(isLibrary);
const share = Math.max(...library.map((result) => result.error / allowed(result)));
const worstError = exponential(Math.max(...library.map(({ error }) => error)));
const attributions = others.filter((name) => name !== 'RandomCAM').join(', ');
const section = `Written by \`npm run build && node tools/compare/parity_table.mjs\`. The cases are those of
\`test/fixtures/family/golden.json\`, which \`tools/fixtures/family\` made with the real library (its docstring says what was
mended in it, such as the sign of an SVD). In a cell: our error, the worse of \`optimize: true\` and \`optimize: false\`, /
the reference's own in float32.

${compared.length} cases, ${within.length} within what is allowed. Of the ${library.length} with the real library as the reference, one step of it mended where
the last table says so, our largest error is **${worstError}**, its own ${worstReference(library)}. The worst needs ${Math.round(100 * share)} % of what is allowed.

### The real library

${overview(compared.filter(isLibrary))}

An empty cell: no case.

### Other references

Where pytorch-grad-cam lacks the method or the shape, or its result is wrong: formulas by hand, or torch-cam. Of models in
half precision the reference's error is that of PyTorch's own run in half precision.

${overview(compared.filter((result) => !isLibrary(result)))}

### Not compared here

Cases of the fixtures that are no class activation maps (${attributions}), and RandomCAM, whose weights
come from another generator.

### Every case

${table(
  ['case', 'method', 'model', 'ours, fast', 'ours, plain', "the reference's own", 'allowed', 'source'],
  compared.map((result) => [
    result.golden.name,
    result.golden.method,
    modelName(result.golden),
    ...(result.failure
      ? [result.failure, '']
      : [exponential(result.fast), exponential(result.plain) + (within.includes(result) ? '' : ' (beyond)')]),
    exponential(result.reference),
    exponential(allowed(result)),
    result.golden.source,
  ]),
)}`;
const page = readFileSync(fileIn('docs/parity.md'), 'utf8');
const [begin, end] = ['<!-- begin: fixtures -->\n', '\n<!-- end: fixtures -->'];
const [before, rest] = page.split(begin);
writeFileSync(fileIn('docs/parity.md'), before + begin + section + end + rest.split(end)[1]);
for (const result of compared) {
  if (!within.includes(result))
    console.log(result.golden.name, result.failure ?? result.error, allowed(result));
}
console.log(`${within.length} of ${compared.length} cases within what is allowed; library: ${worstError}`);
