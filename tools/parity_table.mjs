// Compares every map of test/fixtures/family/golden.json with ours and writes docs/parity.md. Run with:
// npm run build && node tools/parity_table.mjs
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as exported from '../dist/lib/index.js';
import { functionTargets } from '../dist/test/helpers/function-targets.js';

const gradcam = { ...exported };

const fileIn = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const familyPath = (name) => fileIn(`test/fixtures/family/${name}`);
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

function floats({ file, dtype = 'float32' }) {
  const { buffer, byteOffset, byteLength } = readFileSync(familyPath(file));
  const bytes = buffer.slice(byteOffset, byteOffset + byteLength);
  return dtype === 'float64' ? Float32Array.from(new Float64Array(bytes)) : new Float32Array(bytes);
}
const tensorOf = (stored) => gradcam.Tensor.from(floats(stored), stored.shape);

async function toTarget(spec) {
  if (typeof spec === 'number') return spec;
  const { kind, category = 0, vector, mask, labels, boundingBoxes, iouThreshold } = spec;
  if (kind === 'TorchScriptTarget') return await gradcam.TorchScriptTarget.load(familyPath(spec.module));
  if (kind === 'function') return functionTargets[spec.name];
  const Target = gradcam[kind];
  if (kind === 'FinerWeightedTarget')
    return new Target(spec.mainCategory, spec.comparisonCategories, spec.alpha);
  if (vector) return new Target(floats(vector));
  if (mask) return new Target(category, tensorOf(mask));
  if (boundingBoxes) {
    const values = [...floats(boundingBoxes)];
    const boxes = labels.map((_, index) => values.slice(index * 4, index * 4 + 4));
    return new Target(labels, boxes, iouThreshold);
  }
  return new Target(category);
}

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

async function largestDifference(golden, optimize) {
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
    const expected = floats(golden.expected.heatmaps);
    const ours = heatmaps.toTypedArray();
    if (ours.length !== expected.length)
      throw new Error(`${ours.length} values instead of ${expected.length}`);
    return ours.reduce((largest, value, index) => Math.max(largest, Math.abs(value - expected[index])), 0);
  } finally {
    await model.dispose();
  }
}

async function compare(golden) {
  try {
    const [fast, plain] = [await largestDifference(golden, true), await largestDifference(golden, false)];
    return { golden, difference: Math.max(fast, plain) };
  } catch (error) {
    return { golden, failure: error.code ?? error.message };
  }
}

const exponential = (value) => (value === 0 ? '0' : value.toExponential(1));
const modelName = ({ model }) => model.replace('.pt', '');
const inOrder = (values) => [...new Set(values)];
const row = (cells) => `| ${cells.join(' | ')} |`;
const table = (head, rows) => [row(head), row(head.map(() => '---')), ...rows.map(row)].join('\n');

/** Largest difference of each method on each model, with the number of cases where there are several. */
function overview(results) {
  const models = inOrder(results.map(({ golden }) => modelName(golden)));
  const rows = inOrder(results.map(({ golden }) => golden.method)).map((method) => [
    method,
    ...models.map((model) => {
      const cell = results.filter(({ golden }) => golden.method === method && modelName(golden) === model);
      if (cell.length === 0) return '';
      const failed = cell.filter(({ failure }) => failure).length;
      const differences = cell.flatMap(({ difference }) => difference ?? []);
      const worst = differences.length > 0 ? exponential(Math.max(...differences)) : '';
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
const within = succeeded.filter(({ golden, difference }) => difference <= golden.tolerance);
const others = inOrder(
  cases.filter(({ method }) => !comparedMethods.includes(method)).map(({ method }) => method),
);
const worstOf = (results) => exponential(Math.max(...results.map(({ difference }) => difference)));
const worstLibrary = worstOf(succeeded.filter(isLibrary));
const attributions = others.filter((name) => name !== 'RandomCAM').join(', ');
const page = `# Parity with pytorch-grad-cam

Written by \`npm run build && node tools/parity_table.mjs\`; do not edit. It compares our maps, values 0 to 1,
with those of \`test/fixtures/family/golden.json\`, which \`tools/make_family_fixtures.py\` made with the real
library (its docstring says what was mended in it, such as the sign of an SVD). Each figure is the largest
absolute difference of any value of any map, the worse of \`optimize: true\` and \`optimize: false\`.

${compared.length} cases, ${within.length} within their tolerance (1e-4 unless the case says otherwise).
The largest difference from the real library, one step of it mended where the last table says so, in
${succeeded.filter(isLibrary).length} cases: **${worstLibrary}**.

## Against the real library

${overview(compared.filter(isLibrary))}

An empty cell: no case.

## Against other references

Where pytorch-grad-cam lacks the method or the shape, or its result is wrong: formulas by hand in float64, or
torch-cam. Half-precision cases compare with the map of the float32 model and have a tolerance of their own.

${overview(compared.filter((result) => !isLibrary(result)))}

## Not compared here

Cases of the fixtures that are no class activation maps (${attributions}), and RandomCAM, whose weights
come from another generator.

## Every case

${table(
  ['case', 'method', 'model', 'largest difference', 'tolerance', 'source'],
  compared.map(({ golden, difference, failure }) => [
    golden.name,
    golden.method,
    modelName(golden),
    failure ?? `${exponential(difference)}${difference > golden.tolerance ? ' (beyond)' : ''}`,
    exponential(golden.tolerance),
    golden.source,
  ]),
)}
`;
writeFileSync(fileIn('docs/parity.md'), page);
for (const { golden, difference, failure } of compared) {
  if (failure || difference > golden.tolerance)
    console.log(golden.name, failure ?? difference, golden.tolerance);
}
console.log(`${within.length} of ${compared.length} cases within tolerance; library: ${worstLibrary}`);
