import test from 'ava';
import { runScript as run } from '../helpers/run-script.js';

// Images large enough for the cache of large blocks, and a model that is soon loaded.
const prelude = `
  import { GradCAM, IntegratedGradients, loadModel, setThreads, Tensor } from 'node-gradcam';
  import { parentPort, Worker } from 'node:worker_threads';
  import { turns, until } from './dist/test/helpers/until.js';
  setThreads({ executors: 1 });
  const modelPath = 'test/fixtures/scripted.pt';
  const largerModel = 'examples/models/efficientnet_lite0.pt';
  const batch = Tensor.from(new Float32Array(2 * 3 * 160 * 160).fill(0.1), [2, 3, 160, 160]);
  const model = await loadModel(modelPath);
  const cam = new GradCAM({ model, targetLayers: 'layer2' });
  const endless = new AbortController();
  // Ten million forwards and backwards: it surely runs until it is told to stop, which it looks for before each.
  const computeOn = () => new IntegratedGradients({ model, steps: 10_000, batchSize: 1, method: 'riemann_trapezoid' })
    .attribute(batch, { targets: [Array(1000).fill(0), [0]], signal: endless.signal }).catch(() => {});
`;

/** Runs a script in a process of its own, with a model, an explainer and a batch at hand. */
const runScript = (script: string) => run(`${prelude} ${script}`);

interface Stage {
  readonly name: string;
  readonly script: string;
}

const stages: readonly Stage[] = [
  { name: 'a loaded model', script: '' },
  {
    name: 'queued jobs',
    script: `
      let explained = 0;
      computeOn();
      for (let i = 0; i < 4; i++) cam.explain(batch).then(() => explained++, () => {});
      process.once('exit', (code) => { if (code === 0 && explained !== 4) process.exitCode = 9; });`,
  },
  {
    name: 'a running job',
    script: `
      computeOn();
      await until('the job to run', () => model.stats().jobs.running === 1);`,
  },
  {
    name: 'all disposed',
    script:
      '(await cam.explain(batch)).dispose(); batch.dispose(); await cam.dispose(); await model.dispose();',
  },
  { name: 'nothing disposed', script: 'globalThis.kept = await cam.explain(batch);' },
];

interface EndOfProcess {
  readonly name: string;
  readonly script: string;
  readonly code: number | null;
  readonly signal: string | null;
  readonly stderr: RegExp;
}

const endings: readonly EndOfProcess[] = [
  {
    name: 'the script returns', // and the process ends with its last job
    script: 'setImmediate(() => endless.abort());',
    code: 0,
    signal: null,
    stderr: /^$/,
  },
  { name: 'process.exit()', script: 'process.exit(7);', code: 7, signal: null, stderr: /^$/ },
  {
    name: 'an exception',
    script: "setImmediate(() => { throw new Error('on purpose'); });",
    code: 1,
    signal: null,
    stderr: /^\S+\n.*\n\s*\^\n\nError: on purpose\n/,
  },
  {
    name: 'SIGTERM',
    script: "process.kill(process.pid, 'SIGTERM'); setInterval(() => {}, 1000);",
    code: null,
    signal: 'SIGTERM',
    stderr: /^$/,
  },
];

for (const stage of stages) {
  for (const ending of endings) {
    test(`${stage.name}, then ${ending.name}`, async (t) => {
      const { code, signal, stderr } = await runScript(`${stage.script} ${ending.script}`);
      t.is(signal, ending.signal, stderr);
      t.is(code, ending.code, stderr);
      t.regex(stderr, ending.stderr);
    });
  }
}

test('each of these in a worker, then worker.terminate(), and the main thread goes on', async (t) => {
  const bodies = stages.map(
    ({ script }) => `${prelude} ${script}
    parentPort.postMessage('now');
    setInterval(() => {}, 1000);`,
  );
  const { code, signal, stderr } = await runScript(`
    for (const body of ${JSON.stringify(bodies)}) {
      const worker = new Worker(body, { eval: true });
      await new Promise((resolve, reject) => { worker.once('message', resolve); worker.once('error', reject); });
      await worker.terminate();
      if ((await cam.explain(batch)).heatmaps.shape[0] !== 2) process.exit(9);
    }`);
  t.is(signal, null, stderr);
  t.is(code, 0, stderr);
  t.is(stderr, '');
});

const others: readonly EndOfProcess[] = [
  {
    name: 'process.exit() while a model loads',
    script: 'loadModel(modelPath); process.exit(7);',
    code: 7,
    signal: null,
    stderr: /^$/,
  },
  {
    name: 'a load is aborted, and what it loaded is freed at once',
    script: `
      const { createRequire } = await import('node:module');
      const { externalMemory } = createRequire(process.cwd() + '/')('./build/cmake/gradcam.node');
      const other = await loadModel(largerModel);
      const before = externalMemory();
      await other.dispose();
      const without = externalMemory();
      if (before - without < other.byteLength) process.exit(7);
      const controller = new AbortController();
      const pending = loadModel(largerModel, { signal: controller.signal });
      controller.abort(new Error('on purpose'));
      const reason = await pending.catch((error) => error);
      if (reason.message !== 'on purpose') process.exit(8);
      await cam.explain(batch).then((result) => result.dispose());
      await until('the memory of the model to be free', () => externalMemory() <= without);`,
    code: 0,
    signal: null,
    stderr: /^$/,
  },
  {
    // Native ones, called past lib/: its functions would hold them until their promise settles.
    name: 'every handle is collected before its job runs',
    script: `
      const { createRequire } = await import('node:module');
      const { holdExecutor } = await import('./dist/test/helpers/hold-executor.js');
      const native = createRequire(process.cwd() + '/')('./build/cmake/gradcam.node');
      let collected = 0;
      const registry = new FinalizationRegistry(() => collected++);
      const start = async () => {
        const how = { device: 'cpu', dtype: 'auto', libraries: [], precision: 'float32', tf32: false, cudnnBenchmark: false, arguments: {} };
        const { reference } = await native.loadModel(modelPath, how, native.createCancellation());
        const tensor = (length, shape) => native.tensorFromTypedArray(new Float32Array(length).fill(0.2), shape).reference;
        const input = tensor(4 * 3 * 24 * 24, [4, 3, 24, 24]);
        const vector = tensor(5, [5]);
        const cancellation = native.createCancellation();
        const request = {
          methods: [{ name: 'GradCAM', eigenSmooth: false }], augmentations: [{ flip: false, multiply: 1 }],
          inputs: { tensors: [[input]], arguments: {} }, layers: [{ path: 'layer2', call: 'last', output: [] }], modelMethod: 'forward', output: [],
          targets: Array.from({ length: 4 }, () => [{ kind: 'vector', tensor: vector }]), reshape: null,
          upsample: 'bilinear', optimize: true,
        };
        for (const handle of [reference, input, vector, cancellation]) registry.register(handle);
        const executor = await holdExecutor();
        return { executor, pending: native.explain(reference, request, cancellation) };
      };
      const { executor, pending } = await start();
      await until('all handles to be collected', () => { gc(); return collected === 4; });
      await executor.release();
      if ((await pending).methods[0].heatmaps.shape[0] !== 4) process.exit(9);`,
    code: 0,
    signal: null,
    stderr: /^$/,
  },
  {
    name: 'process.exit() inside a target function',
    script: 'cam.explain(batch, { targets: () => process.exit(7) });',
    code: 7,
    signal: null,
    stderr: /^$/,
  },
  {
    name: 'a worker ends while its target function is awaited',
    script: `
      const worker = new Worker(${JSON.stringify(`${prelude}
        const targets = () => { parentPort.postMessage('called'); for (;;); };
        await cam.explain(batch, { targets });`)}, { eval: true });
      await new Promise((resolve, reject) => { worker.once('message', resolve); worker.once('error', reject); });
      await worker.terminate();
      if ((await cam.explain(batch)).heatmaps.shape[0] !== 2) process.exit(9);`,
    code: 0,
    signal: null,
    stderr: /^$/,
  },
];

for (const { name, script, code, signal, stderr } of others) {
  test(name, async (t) => {
    const ending = await runScript(script);
    t.is(ending.signal, signal, ending.stderr);
    t.is(ending.code, code, ending.stderr);
    t.regex(ending.stderr, stderr);
  });
}

test('the memory of results and models that are given back or forgotten is freed', async (t) => {
  const ending = await runScript(`
    import { createRequire } from 'node:module';
    const { externalMemory } = createRequire(process.cwd() + '/')('./build/cmake/gradcam.node');
    const image = Tensor.from(new Float32Array(3 * 224 * 224).fill(0.1), [1, 3, 224, 224]);
    await cam.explain(image).then((result) => result.dispose());
    for (let round = 0; round < 10; round++) { gc(); await turns(); }
    const before = externalMemory();
    const reported = (expected, what) => {
      const bytes = externalMemory() - before;
      if (Math.abs(bytes - expected) > 1e4) throw new Error(what + ': ' + bytes);
    };
    const freed = (what) => until(what + ' to be collected', () => { gc(); return externalMemory() <= before + 1e4; });
    const result = await cam.explain(image);
    reported(224 * 224 * 4 + 5 * 4, 'a result');
    result.dispose();
    reported(0, 'a disposed result');
    for (let i = 0; i < 30; i++) await cam.explain(image);
    await freed('forgotten results');
    let other = await loadModel(largerModel);
    reported(other.byteLength, 'a model');
    await other.dispose();
    reported(0, 'a disposed model');
    other = await loadModel(largerModel);
    other = null;
    await freed('a forgotten model');
  `);
  t.is(ending.code, 0, ending.stderr);
});
