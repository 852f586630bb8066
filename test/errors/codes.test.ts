import { readdirSync, readFileSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import {
  ClipTokenizer,
  Explainer,
  FasterRCNNBoxScoreTarget,
  findClass,
  GradCAM,
  GradCamError,
  type GradCamErrorCode,
  KPCACAM,
  LeGrad,
  loadImage,
  loadModel,
  loadModelWithSidecar,
  type Model,
  Tensor,
} from 'node-gradcam';
import { callNative } from '../../lib/addon/addon.js';
import { noise } from '../helpers/fixtures.js';
import { packageWith } from '../helpers/package-copy.js';
import { fixturePath, root } from '../helpers/root.js';
import { runScript } from '../helpers/run-script.js';
import { type ServiceCode, serviceCodes } from '../helpers/service-codes.js';

// Every code of lib/errors/errors.ts is in docs/errors.md, no other code is anywhere, and each is raised: here, or, of the server
// and batches, in test/services/error-codes.test.ts.

const read = (path: string) => readFileSync(`${root}${path}`, 'utf8');
const filesOf = (folder: string, kind: RegExp) =>
  readdirSync(`${root}${folder}`, { recursive: true, encoding: 'utf8' })
    .filter((name) => kind.test(name))
    .map((name) => ({ name: `${folder}/${name}`, text: read(`${folder}/${name}`) }));

const codesIn = (text: string) => new Set(text.match(/(?<![A-Z_])ERR_[A-Z_]+/g) ?? []);

const union = /export type GradCamErrorCode =([^;]*);/.exec(read('lib/errors/errors.ts'))?.[1] ?? '';
const failures = [...codesIn(union)];
const misuses = ['ERR_INVALID_ARG_TYPE', 'ERR_OUT_OF_RANGE', 'ERR_UNKNOWN_OPTION'];
const documented = [...read('docs/errors.md').matchAll(/^\| `(ERR_[A-Z_]+)` \| ([^|]+)\|/gm)];

test('docs/errors.md describes every code, once, and no other', (t) => {
  t.true(failures.length >= 25);
  t.deepEqual(documented.map(([, code]) => code).sort(), [...failures, ...misuses].sort());
  for (const [, code, meaning] of documented) t.true((meaning ?? '').trim().length > 10, code);
});

/** Codes of Node's that the server turns into ours. */
const nodesOwn = ['ERR_HTTP_REQUEST_TIMEOUT'];

test('every code that the sources use is described', (t) => {
  const known = codesIn(read('docs/errors.md'));
  for (const { name, text } of [...filesOf('lib', /\.ts$/), ...filesOf('native', /\.(cc|h)$/)]) {
    for (const code of codesIn(text)) t.true(known.has(code) || nodesOwn.includes(code), `${name}: ${code}`);
  }
});

const shape = [1, 3, 24, 24];
const image = () => Tensor.from(noise(3 * 24 * 24), shape);
const load = (name: string) => loadModel(fixturePath(name));

/** Runs the action with a model that is disposed afterwards. */
async function using(name: string, action: (model: Model) => unknown): Promise<unknown> {
  await using model = await load(name);
  return await action(model);
}

const explain = (name: string, layer: string, input = image(), options = {}, output?: number) =>
  using(name, (model) =>
    new GradCAM({ model, targetLayers: layer, ...(output === undefined ? {} : { output }) }).explain(
      input,
      options,
    ),
  );

/** What cannot be raised in this process: the script writes the error's code, and this is the error. */
async function inChild(script: string): Promise<never> {
  const { code, stderr } = await runScript(`
    import { execFileSync } from 'node:child_process';
    import { readFileSync } from 'node:fs';
    let failure;
    try { ${script} } catch (error) { failure = error; }
    process.stderr.write(JSON.stringify({ name: failure?.name, code: failure?.code, message: failure?.message }));`);
  if (code !== 0) throw new Error(stderr);
  const { name, code: raised, message } = JSON.parse(stderr);
  if (name !== 'GradCamError') throw new Error(stderr);
  throw new GradCamError(raised, message);
}

type Raise = (t: ExecutionContext) => unknown;

/** Only a GPU raises it: test/cuda/lost-device.test.ts. */
const codeOfGpu = 'ERR_CUDA_FAILED';

const raise: Record<Exclude<GradCamErrorCode, ServiceCode | typeof codeOfGpu>, Raise> = {
  ERR_ADDON_LOAD: (t) =>
    inChild(`
    const { loadModel } = await import(${JSON.stringify(packageWith(t, Buffer.from('no library')))});
    await loadModel('test/fixtures/scripted.pt');`),
  ERR_MODEL_NOT_FOUND: () => load('there-is-none.pt'),
  ERR_MODEL_LOAD: () => load('bad/truncated.pt'),
  ERR_MODEL_CHECKSUM: () => loadModel(fixturePath('scripted.pt'), { sha256: '0'.repeat(64) }),
  ERR_MODEL_FROZEN: () => explain('frozen.pt', 'layer1'),
  ERR_MISSING_OPERATOR: () => load('detection/unknown_operator.pt'),
  ERR_OPERATOR_LIBRARY: () => loadModel(fixturePath('scripted.pt'), { libraries: ['/there/is/none.so'] }),
  ERR_MODEL_ARGUMENTS: () =>
    using('scripted.pt', (model) => model.forward(image(), { arguments: { sr: 16000 } })),
  ERR_NO_FORWARD: () => using('no_forward.pt', (model) => model.forward(image())),
  ERR_UNKNOWN_LAYER: () => explain('scripted.pt', 'layer9'),
  ERR_NO_LAYER_SUGGESTION: () =>
    using('scripted.pt', (model) => new GradCAM({ model }).explain(Tensor.from(noise(3), [1, 3, 1, 1]))),
  ERR_LAYER_NOT_CALLED: () => explain('disconnected.pt', 'unused'),
  ERR_LAYER_OUTPUT: () => explain('scripted.pt', 'fc'),
  ERR_LAYER_DISCONNECTED: () => explain('disconnected.pt', 'side', image(), { targets: 0 }, 0),
  ERR_INPUT_SHAPE: () => explain('scripted.pt', 'layer2', Tensor.from(noise(7 * 256), [1, 7, 16, 16])),
  ERR_INPUT_DTYPE: () => explain('scripted.pt', 'layer2', Tensor.from(new BigInt64Array(1728), shape)),
  ERR_INPUT_NOT_FINITE: () =>
    explain('scripted.pt', 'layer2', Tensor.from(new Float32Array(1728).fill(Number.NaN), shape)),
  ERR_NOT_FINITE: () =>
    explain('scripted.pt', 'layer2', Tensor.from(new Float32Array(1728).fill(3e38), shape)),
  ERR_FORWARD: () =>
    using('model-kinds/remembers.pt', (model) =>
      model.forward(Tensor.from(noise(40), [1, 40]), { arguments: { sr: 44_100 } }),
    ),
  ERR_OUTPUT_SELECTOR: () => explain('scripted.pt', 'layer2', image(), {}, 3),
  ERR_OUTPUT_SHAPE: () =>
    explain('scripted.pt', 'layer2', image(), { targets: (output: Tensor) => output.mul(2) }),
  ERR_CLASS_OUT_OF_RANGE: () => explain('scripted.pt', 'layer2', image(), { targets: 4000 }),
  ERR_NO_DETECTION: () =>
    explain('box-targets/finds.pt', 'conv', image(), {
      targets: new FasterRCNNBoxScoreTarget([3], [[0, 0, 1, 1]]),
    }),
  ERR_TARGET_COUNT: () => explain('scripted.pt', 'layer2', image(), { targets: [0, 1] }),
  ERR_TARGET_FUNCTION: () => explain('scripted.pt', 'layer2', image(), { targets: () => 3 }),
  ERR_TENSOR_OPERATION: () => Tensor.from([1, 2, 3], [3]).matmul(Tensor.from([1, 2], [2])),
  ERR_PROMPT_TOO_LONG: () => new ClipTokenizer().tokenize('word '.repeat(100)),
  ERR_DISPOSED: () =>
    using('scripted.pt', async (model) => {
      await model.dispose();
      await model.forward(image());
    }),
  ERR_BUSY: () =>
    using('scripted.pt', async (model) => {
      const explainer = new Explainer({ model, targetLayers: 'layer2', maxBatch: 1, maxQueue: 2 });
      await Promise.all([image(), image(), image()].map((each) => explainer.explain(each)));
    }),
  ERR_CUDA_UNAVAILABLE: () => loadModel(fixturePath('scripted.pt'), { device: 'cuda:77' }),
  ERR_TOO_LARGE: () =>
    using('limits/places_8.pt', (model) =>
      new KPCACAM({ model, targetLayers: 'conv' }).explain(
        Tensor.from(noise(3 * 129 * 129), [1, 3, 129, 129]),
      ),
    ),
  ERR_OUT_OF_MEMORY: () =>
    inChild(`
    const { loadModel, Tensor } = await import('node-gradcam');
    await loadModel('test/fixtures/scripted.pt');
    const data = new Float32Array(30e6);
    const [, used] = /VmSize:\\s+(\\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'));
    execFileSync('prlimit', ['--pid', String(process.pid), '--as=' + (Number(used) * 1024 + 60e6) + ':']);
    Tensor.from(data, [30e6]);`),
  ERR_IMAGE_LOAD: () => loadImage(Buffer.from('no picture')),
  ERR_SIDECAR: () => loadModelWithSidecar(fixturePath('scripted.pt')),
  ERR_UNKNOWN_LABEL: () => findClass(['cat', 'dog'], 'horse'),
  ERR_UNSUPPORTED: () => using('scripted.pt', (model) => new LeGrad({ model }).explain(image())),
  // A defect, which is what the code is for: the native side is asked for what no public function asks.
  ERR_INTERNAL: () =>
    callNative((module) =>
      module.tensorOperation('there is none', [], { dimensions: [], keepDimensions: false }),
    ),
};

const misuse: Record<string, Raise> = {
  ERR_INVALID_ARG_TYPE: () => loadModel(7 as never),
  ERR_OUT_OF_RANGE: () => Tensor.from([1, 2], [3]),
  ERR_UNKNOWN_OPTION: () => loadModel('x.pt', { devise: 'cpu' } as never),
};

test('every code has its row', (t) => {
  t.deepEqual([...Object.keys(raise), ...serviceCodes, codeOfGpu].sort(), [...failures].sort());
  t.deepEqual(Object.keys(misuse).sort(), [...misuses].sort());
});

for (const [code, action] of Object.entries(raise)) {
  test.serial(`EXPECTED FAILURE - ${code} is raised`, async (t) => {
    const error = await t.throwsAsync(async () => action(t), { instanceOf: GradCamError, code });
    t.true((error?.message ?? '').length > 15, error?.message);
    t.notRegex(error?.message ?? '', /Exception raised from|Traceback/);
  });
}

for (const [code, action] of Object.entries(misuse)) {
  test.serial(`BAD CALL - ${code} is raised`, async (t) => {
    const error = await t.throwsAsync(async () => action(t), { code });
    t.true(error instanceof TypeError || error instanceof RangeError);
  });
}
