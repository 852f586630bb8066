import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { GradCAM, loadImage } from 'node-gradcam';
import {
  batchStatus,
  cancelBatches,
  collectManifest,
  runBatchWorker,
  type SubmitBatchOptions,
  submitBatch,
} from 'node-gradcam/batch';
import {
  type Extra,
  filesBelow,
  makePictures,
  modelPath,
  newQueue,
  readManifest,
  submission,
  successes,
  withRedis,
  workUntilDone,
  writePicture,
} from '../helpers/batch.js';
import { asCloseAs, yardstick } from '../helpers/float64-result.js';
import { RedisServer } from '../helpers/redis-server.js';
import { fixturePath } from '../helpers/root.js';

// What submit puts into the queue, and what it refuses, against a real Redis server.

withRedis('cancelling takes a batch out of the queue and keeps what is done', async (t) => {
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

withRedis('submitting again adds what is new or changed, also when Redis has forgotten all', async (t) => {
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
});

withRedis('patterns, lists and repeated sources: each picture once, in order', async (t) => {
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

withRedis('classes, layers and several methods in one folder are kept apart', async (t) => {
  const { root } = await makePictures(4);
  const { address } = newQueue();
  const labels = ['ant', 'bee', 'cat', 'dog', 'eel'];
  await submitBatch(submission(root, address, { classes: ['cat', 4], labels, targetLayers: ['down'] }));
  await submitBatch(submission(root, address, { top: 3, format: 'png' }));
  t.is((await workUntilDone(address)).images, 8);
  t.like(await collectManifest(join(root, 'out')), { images: 8, results: 8 });
  const entries = successes(await readManifest(join(root, 'out')));
  for (const { input, explained, output } of entries) {
    const { tensor } = await loadImage(input, { size: 32 });
    if (output.endsWith('.png')) {
      t.is(explained.length, 3);
      continue;
    }
    const scores = await yardstick(modelPath, async (plainly) => {
      const cam = new GradCAM({ ...plainly, targetLayers: 'down' });
      return (await cam.explain(tensor, { targets: [[2, 4]] })).scores;
    });
    t.deepEqual(
      explained.map(({ classIndex, label }) => [classIndex, label]),
      [
        [2, 'cat'],
        [4, 'eel'],
      ],
    );
    asCloseAs(
      t,
      'scores',
      explained.map(({ score }) => score),
      scores,
    );
    const record = JSON.parse(await readFile(join(root, 'out', output), 'utf8'));
    t.is(record.layers[0].path, 'down');
    t.is(record.explained.length, 2);
  }
});

withRedis('wrong options are refused with a code', async (t) => {
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

withRedis('a password is neither forgotten nor told', async (t) => {
  const secret = await RedisServer.start('--requirepass', 'open-sesame');
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

withRedis('two submissions at once: everything is queued and done once', async (t) => {
  const { root } = await makePictures(40);
  const { address } = newQueue();
  const options = submission(root, address, { chunkSize: 1 });
  const [a, b] = await Promise.all([submitBatch(options), submitBatch(options)]);
  t.is(a.batch, b.batch);
  t.like((await batchStatus(address)).chunks, { waiting: 40, running: 0 });
  const [first, second] = await Promise.all([workUntilDone(address), workUntilDone(address)]);
  t.is(first.images + second.images, 40);
  const [batch] = (await batchStatus(address)).batches;
  t.like(batch, { submissionComplete: true, images: { total: 40, done: 40, computed: 40 } });
  t.like(await collectManifest(join(root, 'out')), { images: 40, results: 40, missingChunks: 0 });
});

withRedis('another model or other options make other results, the same ones the same', async (t) => {
  const { root } = await makePictures(4);
  const { address } = newQueue();
  const model = join(root, 'model.pt');
  const results = async (extra: Extra = {}) => {
    const { batch, chunksDone } = await submitBatch(submission(root, address, { model, ...extra }));
    await workUntilDone(address);
    const images = (await batchStatus(address)).batches.find((each) => each.batch === batch)?.images;
    await collectManifest(join(root, 'out'), { batch });
    const entries = await readManifest(join(root, 'out'));
    t.true(entries.length === 4 && entries.every((entry) => entry.batch === batch));
    const outputs = successes(entries).map(({ output }) => output);
    return { chunksDone, computed: images?.computed, reused: images?.reused, outputs };
  };
  await copyFile(modelPath, model);
  const before = await results();
  t.like(before, { chunksDone: 0, computed: 4 });
  await copyFile(fixturePath('traced.pt'), model);
  const other = await results();
  t.like(other, { chunksDone: 0, computed: 4, reused: 0 });
  const methods = await results({ method: 'layercam' });
  t.is(new Set([...before.outputs, ...other.outputs, ...methods.outputs]).size, 12);
  await copyFile(modelPath, model);
  const back = await results();
  t.is(back.chunksDone, 1);
  t.deepEqual(back.outputs, before.outputs);
  const regrouped = await results({ chunkSize: 3 });
  t.like(regrouped, { chunksDone: 0, computed: 0, reused: 4, outputs: before.outputs });
});
