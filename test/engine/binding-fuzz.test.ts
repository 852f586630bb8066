import test from 'ava';
import { runScript } from '../helpers/run-script.js';

// The native functions called past lib/, which checks what it hands to them: whatever comes, they return, throw or reject,
// and the process goes on. In a process of its own, which a defect may crash; it prints the call.

const cases = Number(process.env.GRADCAM_BINDING_CALLS ?? 3000);

test.serial('names of arguments are read whole, and told so', async (t) => {
  const program = `
    import { createRequire } from 'node:module';
    const native = createRequire(process.cwd() + '/')('./build/cmake/gradcam.node');
    const how = { device: 'cpu', dtype: 'auto', libraries: [], precision: 'float32', tf32: false, cudnnBenchmark: false, arguments: {} };
    const { reference } = await native.loadModel('test/fixtures/scripted.pt', how, native.createCancellation());
    const tensors = [[native.tensorFromTypedArray(new Float32Array(1728), [1, 3, 24, 24]).reference]];
    for (const name of ['a\\0b', '\\0', '', 'größe', '\u{1f600}']) {
      const given = { tensors, arguments: { [name]: 1 } };
      const { message } = await native.forward(reference, given, native.createCancellation(), 'forward').catch((error) => error);
      if (!message.startsWith("There is no parameter '" + name + "' of the model's forward(")) throw new Error(JSON.stringify(message));
    }
    process.stderr.write('read');`;
  const { code, stderr } = await runScript(program);
  t.is(stderr, 'read');
  t.is(code, 0);
});

const script = (seed: number) => `
  import { createRequire } from 'node:module';
  import { writeSync } from 'node:fs';
  import fc from 'fast-check';
  const native = createRequire(process.cwd() + '/')('./build/cmake/gradcam.node');
  const path = 'test/fixtures/scripted.pt';
  const how = { device: 'cpu', dtype: 'auto', libraries: [], precision: 'float32', tf32: false, cudnnBenchmark: false, arguments: {} };
  const cancellation = native.createCancellation();
  const load = () => native.loadModel(path, how, native.createCancellation());
  const model = (await load()).reference;
  const gone = (await load()).reference;
  await native.disposeModel(gone);
  const tensor = (length = 1728, shape = [1, 3, 24, 24]) =>
    native.tensorFromTypedArray(new Float32Array(length).map((_, index) => Math.sin(index)), shape).reference;
  const lost = tensor();
  native.tensorDispose(lost);
  const given = () => ({ tensors: [[tensor()]], arguments: {} });
  const request = {
    methods: [{ name: 'GradCAM', eigenSmooth: false }],
    augmentations: [{ flip: true, multiply: 1 }],
    inputs: given(),
    layers: [{ path: 'layer2', call: 'last', output: [] }],
    modelMethod: 'forward',
    output: [],
    reshape: null,
    targets: [[{ kind: 'class', category: 1 }]],
    upsample: 'bilinear',
    optimize: true,
  };
  const attribution = {
    kind: 'saliency', inputs: given(), modelMethod: 'forward', output: [], rule: 'gausslegendre', steps: 2,
    targets: [[{ kind: 'rank', category: 0 }]], batchSize: 1, baseline: 0,
  };
  const perturbation = {
    kind: 'remove-most', percentile: 50, noise: 0.1, seed: 1, pixelsPerStep: 100, baseline: 0, inputs: given(),
    heatmaps: tensor(576, [1, 24, 24]), modelMethod: 'forward', output: [], targets: [[{ kind: 'class', category: 0 }]],
  };
  const factorization = {
    inputs: given(), layers: [{ path: 'layer2', call: 'last', output: [] }], modelMethod: 'forward', reshape: null,
    components: 2, seed: 1, linear: '', optimize: true,
  };
  const calls = [
    ['explain', [model, request, cancellation, () => {}]],
    ['explain', [model, { ...request, reshape: { kind: 'tokens', prefixTokens: 1, grid: [2, 2], batchFirst: true } }, cancellation]],
    ['explain', [model, { ...request, targets: [[{ kind: 'vector', tensor: tensor(5, [5]) }]] }, cancellation]],
    ['explain', [model, { ...request, targets: [[{ kind: 'function', function: () => tensor(1, []) }]] }, cancellation]],
    ['attribute', [model, attribution, cancellation]],
    ['perturbedScores', [model, perturbation, cancellation]],
    ['factorize', [model, factorization, cancellation]],
    ['describePlan', [model, request, cancellation]],
    ['forward', [model, given(), cancellation, 'forward']],
    ['forward', [model, { ...given(), arguments: { x: [1, [true, null]], y: { z: 'text', w: 5n } } }, cancellation, 'forward']],
    ['warmUp', [model, request, cancellation]],
    ['inspect', [model, given(), cancellation, 'forward']],
    ['loadModel', [path, how, cancellation]],
    ['loadTarget', [path, cancellation]],
    ['modelWeight', [model, 'fc.weight']],
    ['modelStatistics', [model]],
    ['disposeModel', [gone]],
    ['tensorFromTypedArray', [new Float32Array(12), [3, 4]]],
    ['tensorCopyTo', [tensor(12, [12]), new Float32Array(12)]],
    ['tensorShare', [tensor(12, [12])]],
    ['tensorAt', [tensor(12, [3, 4]), 1]],
    ['tensorNarrow', [tensor(12, [3, 4]), 1, 2]],
    ['tensorOperation', ['select', [tensor(12, [3, 4])], { dimensions: [0], first: 1 }]],
    ['tensorOperation', ['sum', [tensor(12, [3, 4])], { dimensions: [0], keepDimensions: true }]],
    ['tensorDispose', [tensor(12, [3, 4])]],
    ['cancel', [native.createCancellation()]],
    ['buildInfo', []], ['memory', []], ['cuda', []], ['externalMemory', []],
  ];
  const detached = () => { const array = new Float32Array(12); structuredClone(array, { transfer: [array.buffer] }); return array; };
  const odd = fc.oneof(
    fc.constantFrom(0, -0, -1, 1.5, NaN, Infinity, 2 ** 31, 2 ** 32, 2 ** 53, '', 'layer1', 'forward', '\\0', [], [[]], {}, null,
      undefined, true, 7n, Symbol('s'), () => {}, () => { throw new Error('on purpose'); }),
    fc.constantFrom(model, gone, lost, cancellation).map((handle) => handle),
    fc.constantFrom(() => detached(), () => new Float32Array(new SharedArrayBuffer(48)), () => new BigInt64Array(3),
      () => new Proxy({}, { get() { throw new Error('on purpose'); } }), () => new DataView(new ArrayBuffer(4)),
      () => Array(100000).fill(0)).map((make) => make()),
    fc.anything(),
  );
  const isPlain = (value) => Array.isArray(value) || (typeof value === 'object' && value !== null &&
    Object.getPrototypeOf(value) === Object.prototype);
  // A copy of plain objects and arrays; handles and typed arrays stay what they are.
  const copy = (value) => Array.isArray(value) ? value.map(copy)
    : isPlain(value) ? Object.fromEntries(Object.entries(value).map(([key, each]) => [key, copy(each)])) : value;
  const places = (value, found = []) => {
    if (isPlain(value)) for (const key of Object.keys(value)) { found.push([value, key]); places(value[key], found); }
    return found;
  };
  let returned = 0, refused = 0;
  const property = fc.asyncProperty(fc.constantFrom(...calls), fc.array(fc.tuple(fc.nat(), odd), { maxLength: 2 }),
    async ([name, valid], changes) => {
      const args = copy(valid);
      for (const [at, value] of changes) {
        const all = places(args);
        if (all.length === 0) args.push(value);
        else { const [holder, key] = all[at % all.length]; holder[key] = value; }
      }
      // What the other calls need must stay.
      if ((name === 'disposeModel' && args.includes(model)) || (name === 'cancel' && args.includes(cancellation))) return;
      const printed = () => { try { return name + fc.stringify(changes).slice(0, 500); } catch { return name; } };
      if (process.env.GRADCAM_TRACE) writeSync(2, printed() + '\\n');
      try {
        const result = native[name](...args);
        if (result instanceof Promise) {
          const timer = setTimeout(() => { writeSync(2, 'hangs: ' + printed()); process.exit(9); }, 120000);
          await result.finally(() => clearTimeout(timer));
        }
        returned++;
      } catch { refused++; }
    });
  await fc.assert(property, { numRuns: ${cases}, seed: ${seed} });
  const { methods } = await native.explain(model, request, native.createCancellation());
  if (methods[0].heatmaps.shape.join() !== '1,24,24') throw new Error('it does not explain any more');
  if (!(returned > ${cases} / 20 && refused > ${cases} / 5)) throw new Error(returned + ' returned, ' + refused + ' refused');
  writeSync(2, returned + ' returned, ' + refused + ' refused');
`;

for (const seed of [1, 2]) {
  test.serial(`${cases} calls of the native functions with anything, seed ${seed}`, async (t) => {
    const { code, signal, stderr } = await runScript(script(seed), {
      MALLOC_ARENA_MAX: '2',
      ...(process.env.GRADCAM_TRACE ? { GRADCAM_TRACE: '1' } : {}),
    });
    t.is(signal, null, stderr.slice(-2000));
    t.is(code, 0, stderr.slice(-2000));
    t.log(stderr);
  });
}
