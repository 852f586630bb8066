import test from 'ava';
import { runScript } from './helpers/run-script.js';

// Several JavaScript environments, and several copies of the addon, in one process. Each case is a process of its own.

const small = 'test/fixtures/scripted.pt';
const prelude = `
  import { GradCAM, loadModel, Tensor } from 'node-gradcam';
  import { Worker } from 'node:worker_threads';
  const image = () => Tensor.from(new Float32Array(3 * 24 * 24).map((_, index) => Math.sin(index)), [1, 3, 24, 24]);
  const explain = async (model) => [...(await new GradCAM({ model }).explain(image())).heatmaps.toTypedArray()];
`;
const inWorker = (body: string) =>
  JSON.stringify(`import { parentPort } from 'node:worker_threads'; ${prelude} ${body}`);

test.serial('the main thread and eight workers explain at once, and all get the same', async (t) => {
  const { code, signal, stderr } = await runScript(`${prelude}
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
  `);
  t.is(signal, null, stderr);
  t.is(code, 0, stderr);
  t.is(stderr, '');
});

const times = Number(process.env.GRADCAM_WORKERS ?? 40);
test.serial(`workers come and go ${times} times, by their end and by terminate()`, async (t) => {
  const { code, signal, stderr } = await runScript(`${prelude}
    const body = ${inWorker(`
      const model = await loadModel('${small}');
      explain(model).then(() => parentPort.postMessage('explained'));
      parentPort.postMessage('busy');`)};
    const model = await loadModel('${small}');
    const memory = [];
    for (let round = 0; round < ${times}; round++) {
      const worker = new Worker(body, { eval: true });
      const ended = new Promise((resolve, reject) => { worker.once('exit', resolve); worker.once('error', reject); });
      if (round % 2 === 0) {
        await new Promise((resolve) => worker.once('message', resolve));
        await worker.terminate();
      }
      await ended;
      if (round % 10 === 9) { gc(); memory.push(process.memoryUsage().rss); }
    }
    await explain(model);
    const grown = (memory.at(-1) - memory[Math.floor(memory.length / 2) - 1]) / (${times} / 2);
    if (grown > 1e6) throw new Error('each worker left ' + grown + ' bytes: ' + memory);
  `);
  t.is(signal, null, stderr);
  t.is(code, 0, stderr);
  t.is(stderr, '');
});

test.serial('two copies of the package work side by side, and free what is theirs', async (t) => {
  const { code, signal, stderr } = await runScript(`${prelude}
    import { cpSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
    import { createRequire } from 'node:module';
    import { tmpdir } from 'node:os';
    import { join } from 'node:path';
    import { until } from './dist/test/helpers/until.js';
    const folder = mkdtempSync(join(tmpdir(), 'gradcam-copy-'));
    process.once('exit', () => rmSync(folder, { recursive: true }));
    cpSync('dist/lib', join(folder, 'dist/lib'), { recursive: true });
    for (const file of ['package.json', 'build/cmake/gradcam.node', 'build/libtorch.json'])
      cpSync(file, join(folder, file));
    symlinkSync(join(process.cwd(), 'node_modules'), join(folder, 'node_modules'));
    const modelPath = 'examples/models/efficientnet_lite0.pt';
    const large = (library) => library.Tensor.from(new Float32Array(4 * 3 * 224 * 224).fill(0.3), [4, 3, 224, 224]);
    const use = async (library) => {
      const model = await library.loadModel(modelPath);
      const cam = new library.GradCAM({ model, targetLayers: '_conv_head' });
      const map = (await cam.explain(large(library))).heatmaps.toTypedArray();
      return { model, cam, map: map.join() };
    };
    const first = await import('node-gradcam');
    const ours = await use(first);
    const copy = await import(join(folder, 'dist/lib/index.js'));
    if (copy.loadModel === first.loadModel) throw new Error('not a copy');
    const theirs = await use(copy);
    if (ours.map !== theirs.map) throw new Error('another map');
    for (let round = 0; round < 3; round++) {
      const both = await Promise.all([ours.cam.explain(large(first)), theirs.cam.explain(large(copy))]);
      for (const result of both) result.dispose();
    }
    const foreign = await ours.cam.explain(large(copy)).catch((error) => error);
    if (foreign.code !== 'ERR_INVALID_ARG_TYPE') throw foreign;
    await Promise.all([ours.model.dispose(), theirs.model.dispose()]);
    for (const root of [process.cwd(), folder]) {
      const addon = createRequire(join(root, '/'))('./build/cmake/gradcam.node');
      await until('the memory to be given back', () => addon.buildInfo().cachedBytes === 0);
    }
  `);
  t.is(signal, null, stderr);
  t.is(code, 0, stderr);
  t.is(stderr, '');
});
