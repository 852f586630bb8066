import test from 'ava';
import fc from 'fast-check';
import * as library from 'node-gradcam';
import {
  compareMethods,
  Explainer,
  GradCAM,
  GradCamError,
  loadModel,
  type Model,
  Tensor,
  VectorTarget,
} from 'node-gradcam';
import { noise } from '../helpers/fixtures.js';
import { methods } from '../helpers/methods.js';
import { fixturePath } from '../helpers/root.js';
import { runScript } from '../helpers/run-script.js';

// Arguments of every wrong kind: each is refused with a code, and the process goes on.

const shape = [1, 3, 24, 24];
const image = () => Tensor.from(noise(3 * 24 * 24), shape);

let model: Model;
test.before(async () => {
  model = await loadModel(fixturePath('scripted.pt'));
});
test.after.always(() => model.dispose());

const runs = (numRuns: number) => ({ numRuns, seed: 20260801 });

/** Fails unless `action` succeeds, or fails as documented: with a code of the library's. */
async function codedOrFine(what: string, action: () => unknown): Promise<void> {
  try {
    await action();
  } catch (error) {
    const { code, name, message } = error as { code?: string; name?: string; message?: string };
    const coded =
      (error instanceof GradCamError && code !== 'ERR_INTERNAL') ||
      ((error instanceof TypeError || error instanceof RangeError) && /^ERR_/.test(code ?? ''));
    if (!coded) throw new Error(`${what}: ${name} ${code}: ${message}`);
  }
}

const oddNumbers = fc.constantFrom(
  0,
  -0,
  1,
  -1,
  3,
  24,
  2 ** 31,
  2 ** 32,
  2 ** 53,
  2 ** 63,
  1.5,
  Number.NaN,
  1e300,
);
const resizableBuffer = (): ArrayBuffer & { resize(length: number): void } =>
  Reflect.construct(ArrayBuffer, [48, { maxByteLength: 96 }]);
const buffers = [
  () => new ArrayBuffer(48),
  () => new SharedArrayBuffer(48),
  resizableBuffer,
  () => {
    const buffer = new ArrayBuffer(48);
    structuredClone(buffer, { transfer: [buffer] });
    return buffer;
  },
];
const arrayKinds = [
  Float32Array,
  Float64Array,
  Uint8Array,
  Uint8ClampedArray,
  Int8Array,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  BigInt64Array,
  BigUint64Array,
  Buffer,
  DataView,
] as const;

test('BAD CALL - Tensor.from() with any shape, array and buffer', async (t) => {
  const anyArray = fc
    .tuple(fc.constantFrom(...arrayKinds), fc.constantFrom(...buffers))
    .map(([kind, buffer]) => {
      try {
        return new (kind as Uint8ArrayConstructor)(buffer());
      } catch {
        return new Float32Array(12); // a view of a detached buffer cannot be made
      }
    });
  const anyShape = fc.oneof(
    fc.array(oddNumbers, { maxLength: 6 }),
    fc.constantFrom([12], [3, 4], [48], [6], [24], [0], [0, 2 ** 52, 2 ** 52], Array(70).fill(1)),
    fc.anything(),
  );
  const property = fc.asyncProperty(fc.oneof(anyArray, fc.anything()), anyShape, async (data, sizes) => {
    await codedOrFine(`${data} ${sizes}`, () => {
      using tensor = Tensor.from(data as never, sizes as never);
      tensor.toTypedArray();
    });
  });
  await t.notThrowsAsync(fc.assert(property, runs(2000)));
});

test('BAD CALL - arrays that shrink, detach or lie', (t) => {
  const resizable = resizableBuffer();
  const tracking = new Float32Array(resizable);
  resizable.resize(16);
  t.is(Tensor.from(tracking, [4]).size, 4);
  t.throws(() => Tensor.from(tracking, [12]), { code: 'ERR_OUT_OF_RANGE' });
  const fixed = new Float32Array(resizable, 8, 2);
  resizable.resize(4);
  t.throws(() => Tensor.from(fixed, [2]), { code: 'ERR_OUT_OF_RANGE' });
  const detached = new Float32Array(4);
  structuredClone(detached, { transfer: [detached.buffer] });
  t.throws(() => Tensor.from(detached, [4]), { code: 'ERR_OUT_OF_RANGE' });
  t.is(Tensor.from(detached, [0]).size, 0);
  class Liar extends Float32Array {
    override get length() {
      return 1000;
    }
  }
  t.throws(() => Tensor.from(new Liar(4), [1000]), { code: 'ERR_OUT_OF_RANGE' });
  t.throws(() => Tensor.from(Object.create(Float32Array.prototype), [0]), { code: 'ERR_INVALID_ARG_TYPE' });
  t.throws(() => Tensor.from(new Proxy(new Float32Array(4), {}), [4]), { code: 'ERR_INVALID_ARG_TYPE' });
});

test('BAD CALL - operations of tensors with any argument', async (t) => {
  const names = ['select', 'add', 'sub', 'mul', 'div', 'sum', 'mean', 'max', 'norm', 'softmax', 'logSoftmax'];
  const more = ['matmul', 'reshape', 'clamp', 'exp', 'log', 'at'];
  const tensor = Tensor.from(noise(24), [2, 3, 4]);
  const anyArgument = fc.oneof(
    oddNumbers,
    fc.array(oddNumbers, { maxLength: 4 }),
    fc.constant(tensor),
    fc.anything(),
  );
  const property = fc.asyncProperty(
    fc.constantFrom(...names, ...more),
    fc.array(anyArgument, { maxLength: 3 }),
    (name, args) =>
      codedOrFine(`${name}(${fc.stringify(args)})`, () =>
        (tensor as unknown as Record<string, (...all: unknown[]) => Tensor>)[name]?.(...args),
      ),
  );
  await t.notThrowsAsync(fc.assert(property, runs(2000)));
});

const optionNames = [
  'targetLayers',
  'output',
  'optimize',
  'reshapeTransform',
  'method',
  'methods',
  'maxBatch',
  'maxDelayMs',
  'maxQueue',
  'targets',
  'upsample',
  'augSmooth',
  'eigenSmooth',
  'onProgress',
  'signal',
  'batchSize',
  'ratioToAblate',
  'seed',
  'samples',
  'noise',
  'components',
  'sha256',
  'preflight',
  'device',
  'dtype',
];
const anyOption = fc.oneof(
  oddNumbers,
  fc.constantFrom(
    'layer1',
    'tokens',
    'nhwc',
    'all',
    '',
    '__proto__',
    [],
    [[]],
    [0],
    [[0, 1]],
    {},
    null,
    true,
    false,
  ),
  fc.anything(),
);
const anyOptions = fc.oneof(
  fc.dictionary(fc.constantFrom(...optionNames), anyOption, { maxKeys: 2 }),
  fc.anything(),
);

const explainers = Object.entries(methods);

test('there are methods to try', (t) => {
  t.true(explainers.length >= 20, explainers.map(([name]) => name).join());
});

test('BAD CALL - options of every wrong type', async (t) => {
  const property = fc.asyncProperty(
    fc.constantFrom(...explainers),
    anyOptions,
    anyOptions,
    async ([name, Method], making, explaining) => {
      const options = typeof making === 'object' && making !== null ? { model, ...making } : making;
      await codedOrFine(`${name} ${fc.stringify([making, explaining])}`, async () => {
        const cam = new Method(options as never);
        (await cam.explain(image(), explaining as never)).dispose();
      });
    },
  );
  await t.notThrowsAsync(fc.assert(property, runs(600)));
});

test('BAD CALL - everything else with options of every wrong type', async (t) => {
  const calls: readonly [string, (options: never) => unknown][] = [
    ['loadModel', (options) => loadModel(fixturePath('scripted.pt'), options)],
    ['forward', (options) => model.forward(image(), options)],
    ['inspect', (options) => model.inspect(image(), options)],
    ['warmUp', (options) => model.warmUp(options)],
    ['Explainer', (options) => new Explainer(options)],
    ['compareMethods', (options) => compareMethods(options, image())],
    ['setThreads', (options) => library.setThreads(options)],
    ['Saliency', (options) => new library.Saliency(options)],
    ['IntegratedGradients', (options) => new library.IntegratedGradients(options)],
    ['DeepFeatureFactorization', (options) => new library.DeepFeatureFactorization(options)],
    ['describePlan', (options) => library.describePlan(model, options)],
    ['VectorTarget', (options) => new VectorTarget(options)],
    ['ClassifierOutputTarget', (options) => new library.ClassifierOutputTarget(options)],
    ['SemanticSegmentationTarget', (options) => new library.SemanticSegmentationTarget(options, options)],
    ['FasterRCNNBoxScoreTarget', (options) => new library.FasterRCNNBoxScoreTarget(options, options)],
    ['input', (options) => model.forward(options)],
  ];
  const property = fc.asyncProperty(fc.constantFrom(...calls), anyOptions, ([name, call], options) =>
    codedOrFine(`${name} ${fc.stringify(options)}`, () => call(options as never)),
  );
  await t.notThrowsAsync(fc.assert(property, runs(1500)));
});

test('BAD CALL - paths that are no files', async (t) => {
  for (const path of [
    '',
    '\0',
    'model.pt\0.txt',
    '/dev/zero',
    '/dev/null',
    '/proc/self/mem',
    'x'.repeat(5000),
    '.',
    '/',
  ])
    await codedOrFine(path.slice(0, 20), () => loadModel(path));
  await t.throwsAsync(loadModel('/dev/zero'), { code: 'ERR_MODEL_LOAD', message: /not a file/ });
  await t.throwsAsync(loadModel('a\0b'), { code: 'ERR_OUT_OF_RANGE' });
  await t.throwsAsync(library.TorchScriptTarget.load('x'.repeat(5000)), { code: 'ERR_MODEL_NOT_FOUND' });
});

test('a named pipe is refused at once, not waited for', async (t) => {
  const { code, stderr } = await runScript(`
    import { execFileSync } from 'node:child_process';
    import { rmSync } from 'node:fs';
    import { loadModel } from 'node-gradcam';
    const pipe = '/tmp/gradcam-pipe-' + process.pid;
    execFileSync('mkfifo', [pipe]);
    // A guard against hanging; whoever opened it would wait for ever.
    setTimeout(() => process.kill(process.pid, 'SIGKILL'), 120000).unref();
    for (const options of [{}, { sha256: '0'.repeat(64) }, { preflight: true }]) {
      const error = await loadModel(pipe, options).catch((error) => error);
      if (error.code !== 'ERR_MODEL_LOAD') throw error;
    }
    rmSync(pipe);`);
  t.is(code, 0, stderr);
});

test('whatever happened here, the model still explains', async (t) => {
  const { heatmaps } = await new GradCAM({ model }).explain(image());
  t.deepEqual(heatmaps.shape, [1, 24, 24]);
});
