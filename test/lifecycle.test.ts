import test from 'ava';
import { runScript as run } from './helpers/run-script.js';

/** Runs a script in a process of its own, with a model, an explainer and a batch at hand. */
const runScript = (script: string) =>
  run(`
    import { GradCAM, loadModel, Tensor } from 'node-gradcam';
    import { Worker } from 'node:worker_threads';
    const modelPath = 'examples/models/efficientnet_lite0.pt';
    const batch = Tensor.from(new Float32Array(8 * 3 * 224 * 224).fill(0.1), [8, 3, 224, 224]);
    const model = await loadModel(modelPath);
    const cam = new GradCAM({ model, targetLayers: '_conv_head' });
    ${script}
  `);

interface Stage {
  readonly name: string;
  readonly script: string;
}

const stages: readonly Stage[] = [
  { name: 'a loaded model', script: '' },
  { name: 'queued jobs', script: 'for (let i = 0; i < 4; i++) cam.explain(batch).catch(() => {});' },
  {
    name: 'a running job',
    script: `
      for (let i = 0; i < 2; i++) cam.explain(batch).catch(() => {});
      while (model.stats().jobs.running === 0) await new Promise((resolve) => setTimeout(resolve, 1));`,
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
  { name: 'the script returns', script: '', code: 0, signal: null, stderr: /^$/ },
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
    test.serial(`${stage.name}, then ${ending.name}`, async (t) => {
      const { code, signal, stderr } = await runScript(`${stage.script} ${ending.script}`);
      t.is(signal, ending.signal, stderr);
      t.is(code, ending.code, stderr);
      t.regex(stderr, ending.stderr);
    });
  }
  test.serial(`${stage.name}, then worker.terminate(), and the main thread goes on`, async (t) => {
    const { code, signal, stderr } = await runScript(`
      const worker = new Worker(\`
        import { parentPort } from 'node:worker_threads';
        import { GradCAM, loadModel, Tensor } from 'node-gradcam';
        const model = await loadModel('\${modelPath}');
        const cam = new GradCAM({ model, targetLayers: '_conv_head' });
        const batch = Tensor.from(new Float32Array(8 * 3 * 224 * 224).fill(0.1), [8, 3, 224, 224]);
        ${stage.script}
        parentPort.postMessage('now');
        setInterval(() => {}, 1000);\`, { eval: true });
      await new Promise((resolve, reject) => { worker.once('message', resolve); worker.once('error', reject); });
      await worker.terminate();
      if ((await cam.explain(batch)).heatmaps.shape[0] !== 8) process.exit(9);`);
    t.is(signal, null, stderr);
    t.is(code, 0, stderr);
    t.is(stderr, '');
  });
}

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
      const before = externalMemory();
      const controller = new AbortController();
      const pending = loadModel(modelPath, { signal: controller.signal });
      controller.abort(new Error('on purpose'));
      const reason = await pending.catch((error) => error);
      await cam.explain(batch);
      if (reason.message !== 'on purpose') process.exit(8);
      if (Math.abs(externalMemory() - before) > 3e6) process.exit(9);`,
    code: 0,
    signal: null,
    stderr: /^$/,
  },
  {
    name: 'every handle is collected while its job runs',
    script: `
      const { VectorTarget } = await import('node-gradcam');
      const start = async () => {
        const model = await loadModel(modelPath);
        const cam = new GradCAM({ model });
        const input = Tensor.from(new Float32Array(4 * 3 * 224 * 224).fill(0.2), [4, 3, 224, 224]);
        const target = new VectorTarget(new Float32Array(1000).fill(1));
        return { pending: cam.explain(input, { targets: target, signal: new AbortController().signal }) };
      };
      const { pending } = await start();
      for (let i = 0; i < 30; i++) { gc(); await new Promise((resolve) => setTimeout(resolve, 5)); }
      if ((await pending).heatmaps.shape[0] !== 4) process.exit(9);`,
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
      const worker = new Worker(\`
        import { GradCAM, loadModel, Tensor } from 'node-gradcam';
        const model = await loadModel('\${modelPath}');
        const batch = Tensor.from(new Float32Array(3 * 224 * 224).fill(0.1), [1, 3, 224, 224]);
        await new GradCAM({ model }).explain(batch, { targets: () => { for (;;); } });\`, { eval: true });
      await new Promise((resolve) => setTimeout(resolve, 1500));
      await worker.terminate();
      if ((await cam.explain(batch)).heatmaps.shape[0] !== 8) process.exit(9);`,
    code: 0,
    signal: null,
    stderr: /^$/,
  },
];

for (const { name, script, code, signal, stderr } of others) {
  test.serial(name, async (t) => {
    const ending = await runScript(script);
    t.is(ending.signal, signal, ending.stderr);
    t.is(ending.code, code, ending.stderr);
    t.regex(ending.stderr, stderr);
  });
}

test.serial('the memory of results and models that are given back or forgotten is freed', async (t) => {
  const ending = await runScript(`
    import { createRequire } from 'node:module';
    const { externalMemory } = createRequire(process.cwd() + '/')('./build/cmake/gradcam.node');
    const settle = async () => {
      for (let i = 0; i < 10; i++) { gc(); await new Promise((resolve) => setTimeout(resolve, 5)); }
      return externalMemory();
    };
    const image = Tensor.from(new Float32Array(3 * 224 * 224).fill(0.1), [1, 3, 224, 224]);
    const before = await settle();
    const reported = (bytes, expected, what) => {
      if (Math.abs(bytes - before - expected) > 1e5) throw new Error(what + ': ' + (bytes - before));
    };
    const result = await cam.explain(image);
    reported(externalMemory(), 224 * 224 * 4 + 1000 * 4, 'a result');
    result.dispose();
    reported(externalMemory(), 0, 'a disposed result');
    for (let i = 0; i < 30; i++) await cam.explain(image);
    reported(await settle(), 0, 'forgotten results');
    let other = await loadModel(modelPath);
    reported(externalMemory(), other.byteLength, 'a model');
    await other.dispose();
    reported(externalMemory(), 0, 'a disposed model');
    other = await loadModel(modelPath);
    other = null;
    reported(await settle(), 0, 'a forgotten model');
  `);
  t.is(ending.code, 0, ending.stderr);
});
