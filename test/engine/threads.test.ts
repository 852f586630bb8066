import test from 'ava';
import { runScript } from '../helpers/run-script.js';

// Several JavaScript environments, and several copies of the addon, in one process. Each case is a process of its own.

const small = 'test/fixtures/scripted.pt';
const prelude = `
  import { Explainer, GradCAM, loadModel, Tensor } from 'node-gradcam';
  import { Worker } from 'node:worker_threads';
  const image = () => Tensor.from(new Float32Array(3 * 24 * 24).map((_, index) => Math.sin(index)), [1, 3, 24, 24]);
  const explain = async (model) => [...(await new GradCAM({ model }).explain(image())).heatmaps.toTypedArray()];
`;
const inWorker = (body: string) =>
  JSON.stringify(`import { parentPort } from 'node:worker_threads'; ${prelude} ${body}`);

test('the main thread and eight workers explain at once, and all get the same', async (t) => {
  const { code, signal, stderr } = await runScript(
    `${prelude}
    const model = await loadModel('${small}');
    const expected = JSON.stringify(await explain(model));
    const body = ${inWorker(`
      const model = await loadModel('${small}');
      for (let round = 0; round < 20; round++) parentPort.postMessage(JSON.stringify(await explain(model)));
      await model.dispose();`)};
    let answers = 0;
    const workers = Array.from({ length: 8 }, () => new Promise((resolve, reject) => {
      const worker = new Worker(body, { eval: true });
      worker.on('message', (answer) => { answers++; if (answer !== expected) reject(new Error('another map')); });
      worker.once('error', reject);
      worker.once('exit', resolve);
    }));
    for (let round = 0; round < 20; round++) {
      if (JSON.stringify(await explain(model)) !== expected) throw new Error('another map in the main thread');
    }
    await Promise.all(workers);
    if (answers !== 160) throw new Error(answers + ' answers');
  `,
  );
  t.is(signal, null, stderr);
  t.is(code, 0, stderr);
  t.is(stderr, '');
});

// How a worker ends, and where its jobs are then. It tells when it is to be terminated.
const endings: readonly [name: string, body: string][] = [
  ['it is done', 'await explain(await loadModel(path));'],
  ['it is terminated while it explains', `explain(await loadModel(path)); parentPort.postMessage('now');`],
  [
    'it is terminated in a target function',
    `const targets = () => { parentPort.postMessage('now'); for (;;); };
     await new GradCAM({ model: await loadModel(path) }).explain(image(), { targets });`,
  ],
  ['it is terminated while it loads a model', `loadModel(path); parentPort.postMessage('now');`],
  [
    'it is terminated with images that wait and results that are kept',
    `const explainer = new Explainer({ model: await loadModel(path), maxBatch: 2 });
     globalThis.kept = await explainer.explain(image());
     for (let index = 0; index < 6; index++) explainer.explain(image(), { targets: (output) => output.select(0, 1) });
     setImmediate(() => parentPort.postMessage('now'));`,
  ],
  ['it calls process.exit()', 'explain(await loadModel(path)); process.exit();'],
  ['it throws', "explain(await loadModel(path)); throw new Error('on purpose');"],
];

const times = Number(process.env.GRADCAM_WORKERS ?? endings.length);
test(`nothing is left of ${times} workers, however they end`, async (t) => {
  const { code, signal, stderr } = await runScript(
    `${prelude}
    import { settledCounts } from './dist/test/helpers/live-counts.js';
    const endings = ${JSON.stringify(endings)};
    const prelude = ${inWorker(`const path = '${small}';`)};
    const model = await loadModel('${small}');
    for (let round = 0; round < 4; round++) await explain(model);
    const resting = { environments: 1, models: 1, tensors: 0, targets: 0, cancellations: 0, functions: 0, jobs: 0 };
    const before = await settledCounts(resting);
    for (let round = 0; round < ${times}; round++) {
      const [name, body] = endings[round % endings.length];
      const worker = new Worker(prelude + body, { eval: true });
      worker.once('message', () => worker.terminate());
      let error;
      worker.once('error', (thrown) => { error = thrown; });
      await new Promise((resolve) => worker.once('exit', resolve));
      if (error && error.message !== 'on purpose') throw error;
      const after = await settledCounts(before);
      if (JSON.stringify(after) !== JSON.stringify(before))
        throw new Error(name + ': ' + JSON.stringify({ before, after }));
    }
    await explain(model);
  `,
  );
  t.is(signal, null, stderr);
  t.is(code, 0, stderr);
  t.is(stderr, '');
});

test('two copies of the package work side by side, and free what is theirs', async (t) => {
  const { code, signal, stderr } = await runScript(`
    import { cpSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
    import { tmpdir } from 'node:os';
    import { join } from 'node:path';
    import { until } from './dist/test/helpers/until.js';
    const folder = mkdtempSync(join(tmpdir(), 'gradcam-copy-'));
    process.once('exit', () => rmSync(folder, { recursive: true }));
    cpSync('dist/lib', join(folder, 'dist/lib'), { recursive: true });
    for (const file of ['package.json', 'build/cmake/gradcam.node', 'build/libtorch.json'])
      cpSync(file, join(folder, file));
    symlinkSync(join(process.cwd(), 'node_modules'), join(folder, 'node_modules'));
    const large = (library) => library.Tensor.from(new Float32Array(4 * 3 * 224 * 224).fill(0.3), [4, 3, 224, 224]);
    const use = async (library) => {
      const model = await library.loadModel('${small}');
      const cam = new library.GradCAM({ model, targetLayers: 'layer2' });
      const map = (await cam.explain(large(library))).heatmaps.toTypedArray();
      return { model, cam, map: map.join() };
    };
    const first = await import('node-gradcam');
    const copy = await import(join(folder, 'dist/lib/index.js'));
    if (copy.loadModel === first.loadModel) throw new Error('not a copy');
    await (async () => {
      const ours = await use(first);
      const theirs = await use(copy);
      if (ours.map !== theirs.map) throw new Error('another map');
      for (let round = 0; round < 3; round++) {
        const both = await Promise.all([ours.cam.explain(large(first)), theirs.cam.explain(large(copy))]);
        for (const result of both) result.dispose();
      }
      const foreign = await ours.cam.explain(large(copy)).catch((error) => error);
      if (foreign.code !== 'ERR_INVALID_ARG_TYPE') throw foreign;
      await Promise.all([ours.model.dispose(), theirs.model.dispose()]);
    })();
    // The first copy's allocator serves both: all of it comes back, and what it keeps for next time too, in a while.
    const modules = [];
    for (const root of [process.cwd(), folder])
      modules.push((await import(join(root, 'dist/lib/addon/addon.js'))).native());
    await until('the memory to be given back', () => modules[0].memory().cachedBytes === 0);
    const held = () => modules.map((module) => {
      const { liveBlocks, liveObjects } = module.memory();
      return liveBlocks + Object.values(liveObjects).reduce((sum, count) => sum + count);
    });
    for (let collections = 0; held().join() !== '1,1'; collections++) { // the environments themselves
      if (collections === 300) throw new Error('left: ' + JSON.stringify(modules.map((module) => module.memory())));
      gc();
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  `);
  t.is(signal, null, stderr);
  t.is(code, 0, stderr);
  t.is(stderr, '');
});
