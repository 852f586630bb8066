import test from 'ava';
import { runScript } from './helpers/run-script.js';

// Memory that grows with every explain. Each case is a process of its own.

const explains = Number(process.env.GRADCAM_EXPLAINS ?? 400);

/** A process that explains again and again; `one(index)` is one turn. Prints how much memory each turn keeps. */
const growth = (one: string, keepsSomething = false) => `
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
  for (let index = 0; index < 200; index++) await one(index);
  const samples = [];
  for (let index = 0; index < ${explains}; index++) {
    await one(index);
    if (index % ${Math.ceil(explains / 30)} === 0) samples.push([index, await settle()]);
  }
  // The median of the slopes between all pairs of samples (Theil and Sen): memory that the allocators take or give back
  // in one step is no leak, and does not move it.
  const slopes = samples.flatMap(([x, y], index) => samples.slice(index + 1).map(([x2, y2]) => (y2 - y) / (x2 - x)));
  const slope = slopes.sort((a, b) => a - b)[Math.floor(slopes.length / 2)];
  console.error(Math.round(slope));
  process.exitCode = ${keepsSomething ? 'slope > 8000 ? 0 : 1' : 'slope < 2500 ? 0 : 1'};
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
    growth('kept.push((await cam.explain(image())).heatmaps);', true),
    frugal,
  );
  t.log(`${stderr.trim()} bytes per explain`);
  t.is(code, 0, stderr);
});
