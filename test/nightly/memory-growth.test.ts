import test from 'ava';
import { runScript } from '../helpers/run-script.js';

// The memory of the process over a long time: what no counter of ours sees, such as what LibTorch and malloc keep. That
// nothing of ours is left is told exactly, and quickly, by test/engine/memory.test.ts. Each case is a process of its own.

const explains = Number(process.env.GRADCAM_EXPLAINS ?? 5000);
const workers = Number(process.env.GRADCAM_WORKERS ?? 200);

/** A process that does `one(index)` again and again. Prints how many bytes each turn keeps, and ends well where `fits`. */
const growth = (one: string, { turns = explains, warmUp = 200, fits = 'slope < 2500' } = {}) => `
  import { Worker } from 'node:worker_threads';
  import { Explainer, GradCAM, loadModel, Tensor } from 'node-gradcam';
  const model = await loadModel('test/fixtures/scripted.pt');
  const cam = new GradCAM({ model, targetLayers: 'layer2' });
  const explainer = new Explainer({ model, targetLayers: 'layer2' });
  const image = () => Tensor.from(new Float32Array(3 * 64 * 64).fill(0.5), [1, 3, 64, 64]);
  const kept = [];
  const one = async (index) => { ${one} };
  const settle = async () => {
    for (let i = 0; i < 4; i++) { gc(); await new Promise((resolve) => setTimeout(resolve, 2)); }
    return process.memoryUsage().rss;
  };
  for (let index = 0; index < ${warmUp}; index++) await one(index);
  const samples = [];
  for (let index = 0; index < ${turns}; index++) {
    await one(index);
    if (index % ${Math.ceil(turns / 30)} === 0) samples.push([index, await settle()]);
  }
  // The median of the slopes between all pairs of samples (Theil and Sen): memory that the allocators take or give back
  // in one step is no leak, and does not move it.
  const slopes = samples.flatMap(([x, y], index) => samples.slice(index + 1).map(([x2, y2]) => (y2 - y) / (x2 - x)));
  const slope = slopes.sort((a, b) => a - b)[Math.floor(slopes.length / 2)];
  console.error(Math.round(slope));
  process.exitCode = ${fits} ? 0 : 1;
`;

// The smallest thing that a turn could leak is a map, 64 * 64 floats: 16 kB.
const paths: readonly [name: string, script: string][] = [
  ['success', '(await cam.explain(image())).dispose();'],
  ['success, never disposed', 'await cam.explain(image());'],
  ['errors', 'await cam.explain(image(), { targets: 4000 }).catch(() => {});'],
  [
    'errors of a forward',
    'await cam.explain(Tensor.from(new Float32Array(7 * 64 * 64), [1, 7, 64, 64])).catch(() => {});',
  ],
  [
    'aborts',
    `const controller = new AbortController();
     const pending = cam.explain(image(), { signal: controller.signal });
     if (index % 2 === 0) controller.abort(); else setTimeout(() => controller.abort(), 1);
     await pending.catch(() => {});`,
  ],
  [
    'target functions that throw',
    "await cam.explain(image(), { targets: () => { throw new Error('on purpose'); } }).catch(() => {});",
  ],
  ['an Explainer', 'await Promise.all([explainer.explain(image()), explainer.explain(image())]);'],
  ['models', "if (index % 10 === 0) await (await loadModel('test/fixtures/scripted.pt')).dispose();"],
];

// The allocators give back at once what is free, so that what the process holds is what is in use.
const frugal = {
  MALLOC_TRIM_THRESHOLD_: '65536',
  MALLOC_MMAP_THRESHOLD_: '65536',
  MALLOC_ARENA_MAX: '2',
  OMP_NUM_THREADS: '1',
  NODE_OPTIONS: '--max-semi-space-size=1',
};

for (const [name, script] of paths) {
  test.serial(`memory does not grow over ${explains} explains: ${name}`, async (t) => {
    const { code, stderr } = await runScript(growth(script), frugal);
    t.log(`${stderr.trim()} bytes per explain`);
    t.is(code, 0, stderr);
  });
}

test.serial('and the measure sees a leak of one map per explain', async (t) => {
  const { code, stderr } = await runScript(
    growth('kept.push((await cam.explain(image())).heatmaps);', { fits: 'slope > 8000' }),
    frugal,
  );
  t.log(`${stderr.trim()} bytes per explain`);
  t.is(code, 0, stderr);
});

const worker = JSON.stringify(`
  import { parentPort } from 'node:worker_threads';
  import { GradCAM, loadModel, Tensor } from 'node-gradcam';
  const model = await loadModel('test/fixtures/scripted.pt');
  const image = Tensor.from(new Float32Array(3 * 64 * 64).fill(0.5), [1, 3, 64, 64]);
  new GradCAM({ model, targetLayers: 'layer2' }).explain(image).then(() => parentPort.postMessage('explained'));
  parentPort.postMessage('busy');`);

test.serial(`memory does not grow over ${workers} workers, half of them terminated`, async (t) => {
  const oneWorker = `
    const worker = new Worker(${worker}, { eval: true });
    const ended = new Promise((resolve, reject) => { worker.once('exit', resolve); worker.once('error', reject); });
    if (index % 2 === 0) {
      await new Promise((resolve) => worker.once('message', resolve));
      await worker.terminate();
    }
    await ended;`;
  const script = growth(oneWorker, { turns: workers, warmUp: 10, fits: 'slope < 1e6' });
  const { code, stderr } = await runScript(script, frugal);
  t.log(`${stderr.trim()} bytes per worker`);
  t.is(code, 0, stderr);
});
