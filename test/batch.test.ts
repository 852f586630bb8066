import { rmSync } from 'node:fs';
import { copyFile, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import anyTest, { type TestFn } from 'ava';
import { GradCAM, loadImage, loadModel, ScoreCAM } from 'node-gradcam';
import {
  type BatchWorkerReport,
  batchStatus,
  cancelBatches,
  collectManifest,
  type ManifestEntry,
  runBatchWorker,
  type SubmitBatchOptions,
  submitBatch,
  type WorkerEvent,
} from 'node-gradcam/batch';
import { BatchProcess, makePictures, readManifest, until, writePicture } from './helpers/batch-worker.js';
import { fixturePath, maxDifference } from './helpers/fixtures.js';
import { RedisServer, redisMissing } from './helpers/redis-server.js';
import { runScript } from './helpers/run-script.js';

// Against a real Redis server; where there is none each test is skipped, and its name says so.
const test = anyTest as TestFn;
const withRedis = redisMissing ? test.skip : test.serial;
const why = redisMissing ? ` (skipped: ${redisMissing})` : '';
const modelPath = fixturePath('scripted.pt');
let server: RedisServer;
let queues = 0;

test.before(async () => {
  if (!redisMissing) server = await RedisServer.start();
});
test.after.always(async () => {
  await server?.stop();
});

/** A queue of its own, with the options for everything that takes one. */
function newQueue() {
  const queue = `test-${++queues}`;
  const address = { redis: server.url, queue };
  return { address, args: ['--redis', server.url, '--queue', queue] };
}

type Extra = Partial<SubmitBatchOptions>;
const submission = (root: string, address: object, extra: Extra = {}): SubmitBatchOptions => ({
  model: modelPath,
  images: [join(root, 'photos')],
  output: join(root, 'out'),
  image: { size: 32 },
  format: 'none',
  ...address,
  ...extra,
});

const workUntilDone = (address: object, extra: object = {}): Promise<BatchWorkerReport> =>
  runBatchWorker({ ...address, exitWhenDone: true, takeOverAfter: 1000, ...extra });

const successes = (entries: readonly ManifestEntry[]) =>
  entries.flatMap((entry) => ('output' in entry ? [entry] : []));

/** Every file below a folder, with when it was written. */
async function filesBelow(folder: string): Promise<Map<string, number>> {
  const files = new Map<string, number>();
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile()) files.set(path, (await stat(path)).mtimeMs);
  }
  return files;
}

withRedis(`three workers, one killed in the middle: every image once, none lost${why}`, async (t) => {
  const { root, photos } = await makePictures(230);
  const output = join(root, 'out');
  for (const copy of ['copy-a.png', 'copy-b.png', 'copy-c.png'])
    await copyFile(join(photos, '0001.png'), join(photos, copy));
  await writeFile(join(photos, 'broken.jpg'), 'no picture');
  await writeFile(join(photos, 'empty.png'), '');
  const { address, args } = newQueue();
  const options = submission(root, address, {
    image: { size: 160 },
    method: 'scorecam',
    targetLayers: ['down'],
    format: 'npy',
    chunkSize: 16,
  });
  const submitted = await submitBatch(options);
  t.deepEqual([submitted.images, submitted.chunks, submitted.chunksDone], [235, 15, 0]);

  const work = ['work', ...args, '--take-over', '2', '--exit-when-done'];
  const workers = Array.from({ length: 3 }, () => new BatchProcess(t, ...work));
  const victim = workers[0] as BatchProcess;
  const lost = await until('the victim to be within a chunk', async () => {
    const { running } = await batchStatus(address);
    return (
      running.find(({ worker, done, images }) => {
        return worker.endsWith(`.${victim.pid}`) && done > 0 && done < images;
      }) ?? null
    );
  });
  victim.kill('SIGKILL');
  const endings = await Promise.all(workers.map(({ ended }) => ended));
  t.deepEqual(
    endings.map(({ code, signal }) => [code, signal]),
    [
      [null, 'SIGKILL'],
      [0, null],
      [0, null],
    ],
    endings.map(({ stderr }) => stderr).join('\n'),
  );
  const told = endings
    .slice(1)
    .map(({ stdout }) => stdout)
    .join('');
  t.regex(told, new RegExp(`^${lost.chunk.slice(0, 8)} {2}taken back from a worker that is gone$`, 'm'));
  t.regex(told, new RegExp(`^${lost.chunk.slice(0, 8)} {2}\\d+ images: `, 'm'), 'and done by another');
  t.notRegex(endings[0]?.stdout ?? '', new RegExp(`^${lost.chunk.slice(0, 8)} `, 'm'));

  const status = await batchStatus(address);
  t.deepEqual(status.chunks, { waiting: 0, running: 0, delayed: 0, failed: 0 });
  const [batch] = status.batches;
  t.deepEqual(batch?.chunks, { total: 15, done: 15 });
  const { total, done, computed = 0, reused = 0, duplicates = 0, failed } = batch?.images ?? {};
  t.deepEqual([total, done, failed, computed + reused + duplicates], [235, 235, 2, 233]);
  t.true((status.rate ?? 0) > 0);
  t.is(status.secondsLeft, 0);

  const collected = await collectManifest(output);
  t.like(collected, { images: 235, failed: 2, results: 230, missingChunks: 0, missingResults: [] });
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
  const cam = new ScoreCAM({ model, targetLayers: 'down' });
  for (const { input, output: result, explained } of successes(entries).slice(100, 105)) {
    const image = await loadImage(input, { size: 160 });
    const { maps, heatmaps } = await cam.explain(image.tensor);
    t.is(explained[0]?.classIndex, maps[0]?.classIndex ?? -1);
    t.true(Math.abs((explained[0]?.score ?? 0) - (maps[0]?.score ?? 1)) < 1e-4);
    const stored = readNpy(await readFile(join(output, result)));
    t.deepEqual(stored.shape, [1, 160, 160]);
    t.true(maxDifference(stored.values, heatmaps.toTypedArray() as Float32Array) < 1e-4);
  }

  const before = await filesBelow(join(output, 'results'));
  const again = await submitBatch(options);
  t.deepEqual([again.batch, again.images, again.chunksDone], [submitted.batch, 235, 15]);
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

withRedis(`SIGTERM: the worker gives its chunk back and ends; what is done stays done${why}`, async (t) => {
  const { root } = await makePictures(60);
  const { address, args } = newQueue();
  const options: Extra = { image: { size: 192 }, method: 'scorecam', targetLayers: ['down'], chunkSize: 60 };
  await submitBatch(submission(root, address, options));
  const first = new BatchProcess(t, 'work', ...args);
  await until('the first images', async () => ((await batchStatus(address)).running[0]?.done ? true : null));
  first.kill('SIGTERM');
  const { code, signal, stdout, stderr } = await first.ended;
  t.deepEqual([code, signal, stderr], [0, null, '']);
  t.regex(stdout, /^Ended after 0 chunks: 0 images\.$/m);
  t.like(await batchStatus(address), { chunks: { waiting: 1, running: 0, delayed: 0, failed: 0 } });
  const finished = [...(await filesBelow(join(root, 'out', 'results'))).keys()];
  t.true(finished.length > 0 && finished.length < 60, `${finished.length} of 60 were done`);
  t.true(finished.every((path) => path.endsWith('.json')));

  t.is((await workUntilDone(address)).images, 60);
  const { images } = (await batchStatus(address)).batches[0] ?? {};
  t.deepEqual([images?.computed, images?.reused], [60 - finished.length, finished.length]);
});

withRedis(`a worker that slept through the take-over wakes up and does no harm${why}`, async (t) => {
  const { root } = await makePictures(40);
  const { address, args } = newQueue();
  const options: Extra = { image: { size: 160 }, method: 'scorecam', targetLayers: ['down'], chunkSize: 20 };
  await submitBatch(submission(root, address, options));
  const sleeper = new BatchProcess(t, 'work', ...args, '--take-over', '1');
  await until('the first images', async () => ((await batchStatus(address)).running[0]?.done ? true : null));
  sleeper.kill('SIGSTOP');
  t.is((await workUntilDone(address)).images, 40, 'both chunks, one of them taken over');
  const manifests = await filesBelow(join(root, 'out', 'batches'));
  sleeper.kill('SIGCONT');
  await until('the sleeper to notice', async () => (/lock/.test(sleeper.stderr) ? true : null));
  sleeper.kill('SIGTERM');
  const { code, stdout } = await sleeper.ended;
  t.is(code, 0);
  t.regex(stdout, /^Ended after 0 chunks: 0 images\.$/m);
  t.deepEqual(await filesBelow(join(root, 'out', 'batches')), manifests, 'the manifests are as they were');
  const [batch] = (await batchStatus(address)).batches;
  t.like(batch, { chunks: { total: 2, done: 2 }, images: { total: 40, done: 40, failed: 0 } });
  t.like(await collectManifest(join(root, 'out')), { images: 40, results: 40, missingChunks: 0 });
});

withRedis(`a chunk that fails for a passing reason is tried again${why}`, async (t) => {
  const { root } = await makePictures(4);
  const { address } = newQueue();
  await submitBatch(submission(root, address, { attempts: 2 }));
  const obstacle = join(root, 'out', 'results');
  await writeFile(obstacle, 'a file where the folder belongs');
  const failures: WorkerEvent[] = [];
  const onEvent = (event: WorkerEvent) => {
    if (event.kind !== 'failed') return;
    failures.push(event);
    rmSync(obstacle);
  };
  t.like(await workUntilDone(address, { onEvent }), { chunks: 1, images: 4, failed: 0 });
  t.is(failures.length, 1);
  t.like(failures[0], { willRetry: true });
  t.like((await batchStatus(address)).chunks, { failed: 0 });
});

withRedis(`cancelling takes a batch out of the queue and keeps what is done${why}`, async (t) => {
  const { root } = await makePictures(6);
  const { address } = newQueue();
  const kept = await submitBatch(submission(root, address, { chunkSize: 2 }));
  const { batch } = await submitBatch(submission(root, address, { chunkSize: 2, method: 'layercam' }));
  await t.throwsAsync(cancelBatches({ ...address, batch: 'nowhere' }), { code: 'ERR_INVALID_ARG_TYPE' });
  t.deepEqual(await cancelBatches({ ...address, batch }), { batches: 1, removedChunks: 3, runningChunks: 0 });
  t.deepEqual(
    (await batchStatus(address)).batches.map((each) => each.batch),
    [kept.batch],
  );
  t.is((await workUntilDone(address)).images, 6);
  await cancelBatches(address);
  t.like(await batchStatus(address), { batches: [], chunks: { waiting: 0 } });
  t.is((await submitBatch(submission(root, address, { chunkSize: 2 }))).chunksDone, 3);
});

withRedis(
  `submitting again adds what is new or changed, also when Redis has forgotten all${why}`,
  async (t) => {
    const { root, photos } = await makePictures(30);
    const { address } = newQueue();
    const options = submission(root, address, { chunkSize: 10, format: 'png' });
    const results = async () => (await filesBelow(join(root, 'out', 'results'))).size / 2;
    await submitBatch(options);
    await submitBatch(options);
    t.is((await batchStatus(address)).chunks.waiting, 3, 'queued once');
    t.like(await workUntilDone(address), { chunks: 3, images: 30 });
    t.is(await results(), 30);

    await writePicture(join(photos, '0029.png'), 700);
    await writePicture(join(photos, 'zz.png'), 701);
    const added = await submitBatch(options);
    t.like(added, { images: 31, chunks: 4, chunksDone: 2 });
    t.like(await workUntilDone(address), { chunks: 2, images: 11 });
    t.is(await results(), 32);
    t.like((await batchStatus(address)).batches[0]?.images, { total: 31, done: 31 });

    const other = await RedisServer.start();
    t.teardown(() => other.stop());
    const elsewhere = { ...address, redis: other.url };
    t.like(await submitBatch({ ...options, ...elsewhere }), { images: 31, chunks: 4, chunksDone: 4 });
    t.like((await batchStatus(elsewhere)).batches[0]?.images, {
      total: 31,
      done: 31,
      computed: 0,
      reused: 31,
    });
    const { images, missingChunks } = await collectManifest(join(root, 'out'));
    t.deepEqual([images, missingChunks], [31, 0]);

    // A result that was lost is noticed, and comes back when its chunk is done again.
    const [entry] = successes(await readManifest(join(root, 'out')));
    await rm(join(root, 'out', entry?.output ?? ''));
    t.deepEqual((await collectManifest(join(root, 'out'))).missingResults, [entry?.output]);
    await rm(join(root, 'out', 'batches'), { recursive: true });
    t.like(await submitBatch(options), { chunksDone: 0 });
    t.is((await workUntilDone(address)).images, 31);
    t.deepEqual((await collectManifest(join(root, 'out'))).missingResults, []);
  },
);

withRedis(`patterns, lists and repeated sources: each picture once, in order${why}`, async (t) => {
  const { root, photos } = await makePictures(12);
  const list = join(root, 'list.txt');
  await writeFile(list, `${join(photos, '0001.png')}\r\n\n${join(photos, 'gone.png')}\n`);
  await mkdir(join(photos, 'out'));
  await writePicture(join(photos, 'out', 'not-this.png'), 1);
  await writeFile(join(photos, 'notes.txt'), 'no picture');
  const { address } = newQueue();
  const sources: Extra = {
    images: [join(photos, '**/*[02468].png'), photos],
    list,
    output: join(photos, 'out'),
  };
  t.is((await submitBatch(submission(root, address, sources))).images, 13);
  t.deepEqual(await workUntilDone(address), { chunks: 1, images: 13, failed: 1 });
  await collectManifest(join(photos, 'out'));
  const entries = await readManifest(join(photos, 'out'));
  const even = ['0002', '0004', '0008', '0010', 'below/0000', 'below/0006'];
  const odd = ['0001', '0005', '0007', '0011', 'below/0003', 'below/0009'];
  const expected = [...even, ...odd].map((name) => join(photos, `${name}.png`));
  t.deepEqual(
    entries.map(({ input }) => input),
    [...expected, join(photos, 'gone.png')],
  );
});

withRedis(`classes, layers and several methods in one folder are kept apart${why}`, async (t) => {
  const { root } = await makePictures(4);
  const { address } = newQueue();
  const labels = ['ant', 'bee', 'cat', 'dog', 'eel'];
  await submitBatch(submission(root, address, { classes: ['cat', 4], labels, targetLayers: ['down'] }));
  await submitBatch(submission(root, address, { top: 3, format: 'png' }));
  t.is((await workUntilDone(address)).images, 8);
  t.like(await collectManifest(join(root, 'out')), { images: 8, results: 8 });
  const entries = successes(await readManifest(join(root, 'out')));
  await using model = await loadModel(modelPath);
  for (const { input, explained, output } of entries) {
    const { tensor } = await loadImage(input, { size: 32 });
    if (output.endsWith('.png')) {
      t.is(explained.length, 3);
      continue;
    }
    const { maps } = await new GradCAM({ model, targetLayers: 'down' }).explain(tensor, {
      targets: [[2, 4]],
    });
    t.deepEqual(
      explained.map(({ classIndex, label }) => [classIndex, label]),
      [
        [2, 'cat'],
        [4, 'eel'],
      ],
    );
    for (const [index, { score }] of explained.entries())
      t.true(Math.abs(score - (maps[index]?.score ?? 1)) < 1e-4);
    const record = JSON.parse(await readFile(join(root, 'out', output), 'utf8'));
    t.is(record.layers[0].path, 'down');
    t.is(record.explained.length, 2);
  }
});

withRedis(`a worker that cannot do a chunk gives it back and says why${why}`, async (t) => {
  const { root } = await makePictures(3);
  const { address, args } = newQueue();
  const model = join(root, 'model.pt');
  await copyFile(modelPath, model);
  const { batch } = await submitBatch(submission(root, address, { model }));
  const specification = join(root, 'out', 'batches', batch, 'batch.json');
  const original = await readFile(specification, 'utf8');
  const refused = async (code: string, message: RegExp, extra: object = {}) => {
    await t.throwsAsync(workUntilDone(address, extra), { code, message });
    t.deepEqual((await batchStatus(address)).chunks, { waiting: 1, running: 0, delayed: 0, failed: 0 });
  };

  await rm(model);
  await refused('ERR_MODEL_NOT_FOUND', /model\.pt/);
  const run = await new BatchProcess(t, 'work', ...args).ended;
  t.is(run.code, 3);
  t.regex(run.stderr, /^error: .*model\.pt.*\(ERR_MODEL_NOT_FOUND\)\n$/);
  await copyFile(fixturePath('traced.pt'), model);
  await refused('ERR_BATCH_MODEL', /not the one the batch was submitted with/);
  await refused('ERR_MODEL_NOT_FOUND', /elsewhere/, { model: join(root, 'elsewhere.pt') });
  await writeFile(specification, original.replace(/"version": "[^"]+"/, '"version": "0.0.1"'));
  await refused('ERR_BATCH_VERSION', /submitted by node-gradcam 0\.0\.1/);
  await writeFile(specification, original.replace('"gradcam"', '"layercam"'));
  await refused('ERR_BATCH_FOLDER', /changed/);
  await writeFile(specification, '{');
  await refused('ERR_BATCH_FOLDER', /batch\.json/);
  await rm(specification);
  await refused('ERR_BATCH_FOLDER', /same path for all workers/);
  await writeFile(specification, original);
  t.like(await workUntilDone(address, { model: modelPath }), { images: 3, failed: 0 });
});

withRedis(
  `a chunk that cannot be done fails with its reason, and can be submitted again${why}`,
  async (t) => {
    const { root } = await makePictures(3);
    const { address, args } = newQueue();
    const wrong = submission(root, address, { classes: [99], tryOut: false });
    await t.throwsAsync(submitBatch({ ...wrong, tryOut: true }), { code: 'ERR_CLASS_OUT_OF_RANGE' });
    t.is((await batchStatus(address)).batches.length, 0, 'nothing was queued');
    for (const _ of ['at first', 'again']) {
      await submitBatch(wrong);
      await workUntilDone(address);
      const { chunks, failedChunks } = await batchStatus(address);
      t.is(chunks.failed, 1);
      t.regex(failedChunks[0]?.reason ?? '', /Class 99 .*\(ERR_CLASS_OUT_OF_RANGE\)/);
      t.is(failedChunks[0]?.attempts, 1, 'a wrong class is as wrong the next time');
    }
    const status = await new BatchProcess(t, 'status', ...args).ended;
    t.regex(status.stdout, /1 failed$/m);
    t.regex(status.stdout, /failed chunks.*\n {2}[0-9a-f]{8} {2}3 images, 1 attempt: Class 99/);
    t.like(await collectManifest(join(root, 'out')), { images: 0, missingChunks: 1, missingImages: 3 });
    const collect = await new BatchProcess(t, 'collect', join(root, 'out')).ended;
    t.is(collect.code, 1);
    t.regex(collect.stdout, /^missing +3 images of 1 unfinished chunks?$/m);
  },
);

withRedis(`workers wait for a Redis that is away, and go on when it is back${why}`, async (t) => {
  const first = await RedisServer.start();
  const { root } = await makePictures(6);
  const address = { redis: first.url, queue: 'away' };
  const worker = new BatchProcess(t, 'work', '--redis', first.url, '--queue', 'away');
  await until('the worker', async () => ((await batchStatus(address)).workers === 1 ? true : null));
  await first.stop();
  await until('a warning', async () => (/^warning: .*ECONNREFUSED/m.test(worker.stderr) ? true : null));
  await t.throwsAsync(batchStatus(address), {
    code: 'ERR_REDIS',
    message: /127\.0\.0\.1:\d+ .*ECONNREFUSED/,
  });
  const second = await RedisServer.start(Number(new URL(first.url).port));
  t.teardown(() => second.stop());
  await submitBatch(submission(root, address));
  await until('the work', async () => (/6 images: 6 explained/.test(worker.stdout) ? true : null));
  worker.kill('SIGINT');
  t.is((await worker.ended).code, 0);
});

withRedis(`wrong options are refused with a code${why}`, async (t) => {
  const { root } = await makePictures(1);
  const { address } = newQueue();
  const good = submission(root, address);
  const invalid: readonly [options: object, code: string][] = [
    [{ redis: 'localhost' }, 'ERR_INVALID_ARG_TYPE'],
    [{ redis: 'http://localhost' }, 'ERR_INVALID_ARG_TYPE'],
    [{ queue: 'a:b' }, 'ERR_INVALID_ARG_TYPE'],
    [{ model: 7 }, 'ERR_INVALID_ARG_TYPE'],
    [{ model: join(root, 'nowhere.pt') }, 'ERR_MODEL_NOT_FOUND'],
    [{ output: '' }, 'ERR_INVALID_ARG_TYPE'],
    [{ output: modelPath }, 'ERR_BATCH_FOLDER'],
    [{ images: 'photos' }, 'ERR_INVALID_ARG_TYPE'],
    [{ images: [] }, 'ERR_INVALID_ARG_TYPE'],
    [{ images: [join(root, 'nowhere')] }, 'ERR_INVALID_ARG_TYPE'],
    [{ images: [join(root, 'nowhere/*.png')] }, 'ERR_INVALID_ARG_TYPE'],
    [{ list: join(root, 'nowhere.txt') }, 'ERR_INVALID_ARG_TYPE'],
    [{ chunkSize: 0 }, 'ERR_OUT_OF_RANGE'],
    [{ chunkSize: Number.NaN }, 'ERR_OUT_OF_RANGE'],
    [{ attempts: 1.5 }, 'ERR_OUT_OF_RANGE'],
    [{ method: 'gradcan' }, 'ERR_INVALID_ARG_TYPE'],
    [{ format: 'gif' }, 'ERR_INVALID_ARG_TYPE'],
    [{ classes: [1], top: 2 }, 'ERR_INVALID_ARG_TYPE'],
    [{ classes: ['tabby'] }, 'ERR_UNKNOWN_LABEL'],
    [{ classes: [-1] }, 'ERR_INVALID_ARG_TYPE'],
    [{ top: 0 }, 'ERR_INVALID_ARG_TYPE'],
    [{ top: 9 }, 'ERR_CLASS_OUT_OF_RANGE'],
    [{ targetLayers: ['nowhere'] }, 'ERR_UNKNOWN_LAYER'],
    [{ image: { size: -1 } }, 'ERR_OUT_OF_RANGE'],
    [{ drawing: { imageWeight: 2 } }, 'ERR_INVALID_ARG_TYPE'],
    [{ signal: 'stop' }, 'ERR_INVALID_ARG_TYPE'],
    [{ chunksize: 4 }, 'ERR_UNKNOWN_OPTION'],
  ];
  for (const [options, code] of invalid) {
    const error = await t.throwsAsync(submitBatch({ ...good, ...options } as SubmitBatchOptions));
    t.is((error as { code?: string })?.code, code, JSON.stringify(options));
  }
  for (const options of [{ concurrency: 0 }, { batchSize: 0.5 }, { takeOverAfter: 10 }]) {
    await t.throwsAsync(runBatchWorker({ ...address, ...options }), { code: 'ERR_OUT_OF_RANGE' });
  }
  await t.throwsAsync(runBatchWorker({ ...address, device: 'tpu' as 'cpu' }), {
    code: 'ERR_INVALID_ARG_TYPE',
  });
  await t.throwsAsync(batchStatus({ quue: 'x' } as object), { code: 'ERR_UNKNOWN_OPTION' });
  await t.throwsAsync(collectManifest(join(root, 'nowhere')), { code: 'ERR_BATCH_FOLDER' });
  const reason = new Error('changed my mind');
  await t.throwsAsync(submitBatch({ ...good, signal: AbortSignal.abort(reason) }), { is: reason });
  t.is((await batchStatus(address)).batches.length, 0, 'nothing was queued by any of them');
});

withRedis(`a password is neither forgotten nor told${why}`, async (t) => {
  const secret = await RedisServer.start(undefined, '--requirepass', 'open-sesame');
  t.teardown(() => secret.stop());
  const withPassword = secret.url.replace('//', '//:open-sesame@');
  const { redis } = await batchStatus({ redis: withPassword });
  t.regex(redis, /\/\/:\*\*\*@/);
  await t.throwsAsync(batchStatus({ redis: secret.url }), { code: 'ERR_REDIS', message: /NOAUTH/ });
  const wrong = await t.throwsAsync(batchStatus({ redis: secret.url.replace('//', '//:close-sesame@') }), {
    code: 'ERR_REDIS',
  });
  t.notRegex(wrong?.message ?? '', /sesame/);
});

withRedis(`the command line: submit, work, status, collect, in 80 columns${why}`, async (t) => {
  const { root, photos } = await makePictures(5);
  const { args } = newQueue();
  const output = join(root, 'out');
  const submit = ['submit', modelPath, photos, '-o', output, '--size', '32', '--chunk', '2', ...args];
  const submitted = await new BatchProcess(t, ...submit).ended;
  t.is(submitted.code, 0, submitted.stderr);
  t.regex(submitted.stdout, /^images {2}5 in 3 chunks\nchunks {2}3 added, 0 queued before, 0 done before$/m);
  const worked = await new BatchProcess(t, 'work', '--exit-when-done', ...args).ended;
  t.deepEqual([worked.code, worked.stderr], [0, '']);
  t.regex(worked.stdout, /^[0-9a-f]{8} {2}2 images: 2 explained; \d+\.\d s$/m);
  t.regex(worked.stdout, /^Ended after 3 chunks: 5 images\.$/m);
  const status = await new BatchProcess(t, 'status', ...args).ended;
  t.regex(status.stdout, /^ +images +5 of 5 done \(100\.0%\), 0 failed$/m);
  const watch = await new BatchProcess(t, 'status', '--watch', ...args).ended;
  t.regex(watch.stdout, /^5 of 5 images, \d+\.\d images\/s, 0 failed, 0 workers\n$/);
  const json = JSON.parse((await new BatchProcess(t, 'status', '--json', ...args).ended).stdout);
  t.like(json.batches[0].images, { total: 5, done: 5, failed: 0 });
  const collected = await new BatchProcess(t, 'collect', output).ended;
  t.is(collected.code, 0);
  t.is((await readManifest(output)).length, 5);
  for (const line of [worked, status, watch].flatMap(({ stdout }) => stdout.split('\n')))
    t.true(line.length <= 80 || /model|output/.test(line), line);
});

test.serial('the command line: help in 80 columns, mistakes end with 2, no Redis with 3', async (t) => {
  for (const args of [[], ['submit'], ['work'], ['status'], ['collect'], ['cancel']]) {
    const { code, stdout } = await new BatchProcess(t, ...args, '--help').ended;
    t.is(code, 0);
    for (const line of stdout.split('\n')) t.true(line.length <= 80, line);
    t.regex(stdout, /Exit codes:\n {2}0 /);
  }
  const mistakes: readonly [args: string[], message: RegExp][] = [
    [['submit', modelPath, '-o', 'out'], /Give images, folders or patterns/],
    [['submit', modelPath, 'photos'], /--output <folder>' not specified/],
    [['submit', modelPath, 'photos', '-o', 'out', '--chunk', '0'], /at least 1/],
    [['submit', modelPath, 'photos', '-o', 'out', '--top', '2', '--class', '1'], /--class or --top/],
    [['work', '--take-over', 'never'], /at least 1/],
    [['status', '--redis', 'localhost'], /ERR_INVALID_ARG_TYPE/],
    [['wrok'], /unknown command 'wrok'/],
  ];
  for (const [args, message] of mistakes) {
    const { code, stderr } = await new BatchProcess(t, ...args).ended;
    t.is(code, 2, args.join(' '));
    t.regex(stderr, message);
  }
  const { code, stdout, stderr } = await new BatchProcess(t, 'work', '--redis', 'redis://:word@127.0.0.1:1')
    .ended;
  t.deepEqual([code, stdout], [3, '']);
  t.regex(stderr, /^error: Redis at redis:\/\/:\*\*\*@127\.0\.0\.1:1 .*ECONNREFUSED.*\(ERR_REDIS\)\n$/);
});

test.serial('the library alone loads neither BullMQ nor ioredis', async (t) => {
  const script = (entry: string) => `
    import { createRequire } from 'node:module';
    await import('${entry}');
    const loaded = Object.keys(createRequire(import.meta.url).cache).some((path) => path.includes('ioredis'));
    process.exitCode = loaded ? 7 : 0;`;
  t.is((await runScript(script('node-gradcam'))).code, 0);
  t.is((await runScript(script('node-gradcam/batch'))).code, 7);
});
