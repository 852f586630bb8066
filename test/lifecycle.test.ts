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

const endings: readonly [name: string, script: string, code: number, stderr: RegExp][] = [
  ['the script ends while jobs wait and run', 'cam.explain(batch); cam.explain(batch);', 0, /^$/],
  ['process.exit() while a job runs', 'cam.explain(batch); setTimeout(() => process.exit(7), 60);', 7, /^$/],
  [
    'an exception while a job runs',
    "cam.explain(batch); setTimeout(() => { throw new Error('on purpose'); }, 60);",
    1,
    /^\S+\n.*\n\s*\^\n\nError: on purpose\n/,
  ],
  ['process.exit() while a model loads', 'loadModel(modelPath); process.exit(7);', 7, /^$/],
  ['nothing is disposed', 'await cam.explain(batch);', 0, /^$/],
  [
    'all is disposed',
    '(await cam.explain(batch)).dispose(); batch.dispose(); await model.dispose();',
    0,
    /^$/,
  ],
  [
    'the explainer is collected while its job runs',
    `let forgotten = new GradCAM({ model: await loadModel(modelPath) });
     const pending = forgotten.explain(batch);
     forgotten = null;
     for (let i = 0; i < 20; i++) { gc(); await new Promise((resolve) => setTimeout(resolve, 5)); }
     if ((await pending).heatmaps.shape[0] !== 8) process.exit(9);`,
    0,
    /^$/,
  ],
  [
    'workers that use the addon are terminated, the main thread goes on',
    `for (let i = 0; i < 3; i++) {
       const worker = new Worker(\`
         import { parentPort } from 'node:worker_threads';
         import { GradCAM, loadModel, Tensor } from 'node-gradcam';
         const model = await loadModel('\${modelPath}');
         const batch = Tensor.from(new Float32Array(8 * 3 * 224 * 224).fill(0.1), [8, 3, 224, 224]);
         const pending = new GradCAM({ model }).explain(batch);
         parentPort.postMessage('busy');
         await pending;\`, { eval: true });
       await new Promise((resolve) => worker.once('message', resolve));
       await worker.terminate();
     }
     if ((await cam.explain(batch)).heatmaps.shape[0] !== 8) process.exit(9);`,
    0,
    /^$/,
  ],
];

for (const [name, script, code, stderr] of endings) {
  test.serial(name, async (t) => {
    const ending = await runScript(script);
    t.is(ending.signal, null, ending.stderr);
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
