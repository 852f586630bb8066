import { copyFile, readdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { GradCAM, loadImage, loadModel } from 'node-gradcam';
import { batchStatus, collectManifest, submitBatch, type WorkerEvent } from 'node-gradcam/batch';
import {
  BatchProcess,
  filesBelow,
  holdPicture,
  makePictures,
  modelPath,
  newQueue,
  readManifest,
  submission,
  successes,
  takeOverSoon,
  untilWithinChunk,
  withRedis,
  workUntilDone,
} from '../helpers/batch.js';
import { asCloseAs, yardstick } from '../helpers/float64-result.js';
import { until } from '../helpers/until.js';

// What a batch promises, with worker processes that are killed, stopped and put to sleep, against a real Redis server.

withRedis('three workers, one killed in the middle: every image once, none lost', async (t) => {
  const { root, photos } = await makePictures(75);
  const output = join(root, 'out');
  for (const copy of ['copy-a.png', 'copy-b.png', 'copy-c.png'])
    await copyFile(join(photos, '0001.png'), join(photos, copy));
  await writeFile(join(photos, 'broken.jpg'), 'no picture');
  await writeFile(join(photos, 'empty.png'), '');
  const { address, args } = newQueue();
  const options = submission(root, address, {
    image: { size: 64 },
    targetLayers: ['down'],
    format: 'npy',
    chunkSize: 12,
  });
  const submitted = await submitBatch(options);
  t.deepEqual([submitted.images, submitted.chunks, submitted.chunksDone], [80, 7, 0]);
  const held = await holdPicture(root, join(photos, '0031.png'));

  const work = ['work', ...args, ...takeOverSoon, '--exit-when-done'];
  const workers = Array.from({ length: 3 }, () => new BatchProcess(t, ...work));
  const lost = await until('all chunks to be done but the held one', async () => {
    const { running, chunks } = await batchStatus(address);
    const [last] = running;
    return chunks.waiting === 0 && running.length === 1 && last?.done ? last : null;
  });
  const victim = workers.find(({ pid }) => lost.worker.endsWith(`.${pid}`)) as BatchProcess;
  victim.kill('SIGKILL');
  const killed = await victim.ended;
  await held.release();
  t.is(killed.signal, 'SIGKILL');
  t.notRegex(killed.stdout, new RegExp(`^${lost.chunk.slice(0, 8)} `, 'm'));
  const others = workers.filter((worker) => worker !== victim);
  const endings = await Promise.all(others.map(({ ended }) => ended));
  for (const { code, stderr } of endings) t.is(code, 0, stderr);
  const told = endings.map(({ stdout }) => stdout).join('');
  t.regex(told, new RegExp(`^${lost.chunk.slice(0, 8)} {2}taken back from a worker that is gone$`, 'm'));
  t.regex(told, new RegExp(`^${lost.chunk.slice(0, 8)} {2}\\d+ images: `, 'm'), 'and done by another');

  const status = await batchStatus(address);
  t.deepEqual(status.chunks, { waiting: 0, running: 0, delayed: 0, failed: 0 });
  const [batch] = status.batches;
  t.deepEqual(batch?.chunks, { total: 7, done: 7 });
  const { total, done, computed = 0, reused = 0, duplicates = 0, failed } = batch?.images ?? {};
  t.deepEqual([total, done, failed, computed + reused + duplicates], [80, 80, 2, 78]);
  t.true((status.rate ?? 0) > 0);
  t.is(status.secondsLeft, 0);

  const collected = await collectManifest(output);
  t.like(collected, { images: 80, failed: 2, results: 75, missingChunks: 0, missingResults: [] });
  const entries = await readManifest(output);
  const names = await readdir(photos, { recursive: true, withFileTypes: true });
  const inputs = names
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name));
  t.deepEqual(entries.map(({ input }) => input).sort(), inputs.sort(), 'every image exactly once');
  for (const entry of entries) {
    if (!('error' in entry)) continue;
    t.regex(entry.error.message, new RegExp(`${basename(entry.input)}'`));
    t.is(entry.error.code, 'ERR_IMAGE_LOAD');
  }
  const copies = successes(entries).filter(({ input }) => /copy|0001/.test(input));
  t.is(copies.length, 4);
  t.is(new Set(copies.map((entry) => entry.output)).size, 1, 'one result for one content');

  // What the manifest says is what the library says.
  await using model = await loadModel(modelPath);
  const cam = new GradCAM({ model, targetLayers: 'down' });
  for (const { input, output: result, explained } of successes(entries).slice(50, 55)) {
    const image = await loadImage(input, { size: 64 });
    const { maps } = await cam.explain(image.tensor);
    t.is(explained[0]?.classIndex, maps[0]?.classIndex ?? -1);
    const scores = await yardstick(modelPath, async (plainly) => {
      const plain = new GradCAM({ ...plainly, targetLayers: 'down' });
      return (await plain.explain(image.tensor)).scores;
    });
    asCloseAs(t, 'score', [explained[0]?.score ?? 0], scores);
    const stored = readNpy(await readFile(join(output, result)));
    t.deepEqual(stored.shape, [1, 64, 64]);
    const heatmaps = await yardstick(modelPath, async (plainly) => {
      const plain = new GradCAM({ ...plainly, targetLayers: 'down' });
      return (await plain.explain(image.tensor)).heatmaps;
    });
    asCloseAs(t, output, stored.values, heatmaps);
  }

  const before = await filesBelow(join(output, 'results'));
  const again = await submitBatch(options);
  t.deepEqual([again.batch, again.images, again.chunksDone], [submitted.batch, 80, 7]);
  t.deepEqual(await workUntilDone(address), { chunks: 0, images: 0, failed: 0 });
  t.deepEqual(await filesBelow(join(output, 'results')), before, 'submitted again, nothing is computed');
});

/** Version 1.0 of NumPy's format, float32. */
function readNpy(file: Buffer): { shape: number[]; values: Float32Array } {
  const length = file.readUInt16LE(8);
  const header = file.toString('latin1', 10, 10 + length);
  const shape = (/'shape': \(([^)]*)\)/.exec(header)?.[1] ?? '').split(',').map(Number);
  return { shape, values: new Float32Array(Uint8Array.from(file.subarray(10 + length)).buffer) };
}

withRedis('SIGTERM: the worker gives its chunk back and ends; what is done stays done', async (t) => {
  const { root, photos } = await makePictures(40);
  const { address, args } = newQueue();
  await submitBatch(submission(root, address, { chunkSize: 40 }));
  const held = await holdPicture(root, join(photos, '0010.png'));
  const first = new BatchProcess(t, 'work', ...args);
  await untilWithinChunk(address);
  first.kill('SIGTERM');
  // It does not wait for the picture, but has no way to let go of it.
  await until('the worker to say goodbye', () => /^Ended after/m.test(first.stdout));
  await held.release();
  const { code, signal, stdout, stderr } = await first.ended;
  t.deepEqual([code, signal, stderr], [0, null, '']);
  t.regex(stdout, /^Ended after 0 chunks: 0 images\.$/m);
  t.like(await batchStatus(address), { chunks: { waiting: 1, running: 0, delayed: 0, failed: 0 } });
  const finished = [...(await filesBelow(join(root, 'out', 'results'))).keys()];
  t.true(finished.length > 0 && finished.length < 40, `${finished.length} of 40 were done`);
  t.true(finished.every((path) => path.endsWith('.json')));

  t.is((await workUntilDone(address)).images, 40);
  const { images } = (await batchStatus(address)).batches[0] ?? {};
  t.deepEqual([images?.computed, images?.reused], [40 - finished.length, finished.length]);
});

withRedis('a worker that slept through the take-over wakes up and does no harm', async (t) => {
  const { root, photos } = await makePictures(24);
  const { address, args } = newQueue();
  await submitBatch(submission(root, address));
  const held = await holdPicture(root, join(photos, '0001.png'));
  const sleeper = new BatchProcess(t, 'work', ...args, ...takeOverSoon);
  await untilWithinChunk(address);
  sleeper.kill('SIGSTOP');
  const events: string[] = [];
  const working = workUntilDone(address, { onEvent: ({ kind }: WorkerEvent) => events.push(kind) });
  await until('the chunk to be taken over', () => events.includes('taken-back'));
  await held.handOver();
  t.is((await working).images, 24);
  const manifests = await filesBelow(join(root, 'out', 'batches'));
  sleeper.kill('SIGCONT');
  await until('the sleeper to notice', () => /lock/.test(sleeper.stderr));
  await held.handOver();
  sleeper.kill('SIGTERM');
  const { code, stdout } = await sleeper.ended;
  t.is(code, 0);
  t.regex(stdout, /^Ended after 0 chunks: 0 images\.$/m);
  t.deepEqual(await filesBelow(join(root, 'out', 'batches')), manifests, 'the manifests are as they were');
  const [batch] = (await batchStatus(address)).batches;
  t.like(batch, { chunks: { total: 1, done: 1 }, images: { total: 24, done: 24, failed: 0 } });
  t.like(await collectManifest(join(root, 'out')), { images: 24, results: 24, missingChunks: 0 });
});
