import { rmSync } from 'node:fs';
import { copyFile, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  batchStatus,
  cancelBatches,
  collectManifest,
  submitBatch,
  type WorkerEvent,
} from 'node-gradcam/batch';
import {
  BatchProcess,
  holdPicture,
  makePictures,
  modelPath,
  newQueue,
  submission,
  takeOverSoon,
  untilWithinChunk,
  withRedis,
  workUntilDone,
} from '../helpers/batch.js';
import { RedisServer } from '../helpers/redis-server.js';
import { fixturePath } from '../helpers/root.js';
import { until } from '../helpers/until.js';

// What goes wrong around a batch: Redis, the disk, the model, the options of a chunk.

/** Of forty: in the last chunk. */
const lastPicture = (photos: string) => join(photos, 'below', '0039.png');

withRedis('a chunk that fails for a passing reason is tried again', async (t) => {
  const { root } = await makePictures(4);
  const { address } = newQueue();
  await submitBatch(submission(root, address, { attempts: 2 }));
  const obstacle = join(root, 'out', 'results');
  await symlink('results', obstacle); // a link to itself
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

withRedis('a worker that cannot do a chunk gives it back and says why', async (t) => {
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
  await writeFile(specification, original);
  await writeFile(join(root, 'out', 'results'), 'a file where the folder belongs');
  await refused('ERR_BATCH_FOLDER', /Cannot write into the output folder/, { model: modelPath });
  await rm(join(root, 'out', 'results'));
  await rename(join(root, 'out'), join(root, 'elsewhere'));
  await refused('ERR_BATCH_FOLDER', /same path for all workers/);
  await rename(join(root, 'elsewhere'), join(root, 'out'));
  t.like(await workUntilDone(address, { model: modelPath }), { images: 3, failed: 0 });
});

withRedis('a batch that was deleted or edited fails, and does not stop the others', async (t) => {
  const { root } = await makePictures(3);
  const { address } = newQueue();
  const options = submission(root, address);
  const { batch } = await submitBatch(options);
  const specification = join(root, 'out', 'batches', batch, 'batch.json');
  const original = await readFile(specification, 'utf8');
  for (const content of [original.replace('"gradcam"', '"layercam"'), '{', null]) {
    if (content === null) await rm(specification);
    else await writeFile(specification, content);
    await submitBatch(submission(root, address, { method: 'eigencam', targetLayers: ['down'] }));
    t.true((await workUntilDone(address)).chunks <= 1);
    const { chunks, failedChunks } = await batchStatus(address);
    t.like(chunks, { waiting: 0, failed: 1 });
    const { reason = '' } = failedChunks[0] ?? {};
    t.regex(reason, /batch\.json.*Submit the batch again/);
    t.true(reason.includes('ERR_BATCH_CHANGED'));
    if (content !== null) {
      await submitBatch(options);
      t.like((await batchStatus(address)).chunks, { waiting: 1, failed: 0 });
    }
  }
  await submitBatch(options);
  t.like(await workUntilDone(address), { images: 3, failed: 0 });
  t.like(await collectManifest(join(root, 'out')), { images: 6, missingChunks: 0 });
});

withRedis('cancelled while a worker has a chunk and dies: the chunk is dropped', async (t) => {
  const { root, photos } = await makePictures(20);
  const { address, args } = newQueue();
  await submitBatch(submission(root, address, { chunkSize: 20 }));
  const held = await holdPicture(root, join(photos, '0001.png'));
  const victim = new BatchProcess(t, 'work', ...args, ...takeOverSoon);
  await untilWithinChunk(address);
  t.like(await cancelBatches(address), { removedChunks: 0, runningChunks: 1 });
  victim.kill('SIGKILL');
  await victim.ended;
  await held.release();
  const events: string[] = [];
  const onEvent = ({ kind }: WorkerEvent) => events.push(kind);
  t.is((await workUntilDone(address, { onEvent })).images, 0);
  t.true(events.includes('cancelled'), events.join());
  t.like((await batchStatus(address)).chunks, { waiting: 0, running: 0, failed: 0 });
});

withRedis('a chunk that cannot be done fails with its reason, and can be submitted again', async (t) => {
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
  t.regex(collect.stdout, /^missing +3 images of 1 unfinished chunk$/m);
});

withRedis('Redis is killed in the middle, keeps what it had: the worker waits and goes on', async (t) => {
  const redis = await RedisServer.start('--appendonly', 'yes', '--appendfsync', 'always');
  t.teardown(() => redis.stop());
  const { root, photos } = await makePictures(40);
  const address = { redis: redis.url, queue: 'kept' };
  await submitBatch(submission(root, address, { chunkSize: 4 }));
  const held = await holdPicture(root, lastPicture(photos));
  const worker = new BatchProcess(t, 'work', '--redis', redis.url, '--queue', 'kept', ...takeOverSoon);
  await until('a chunk', () => / images: /.test(worker.stdout));
  await redis.kill();
  await until('a warning', () => /^warning: .*ECONNREFUSED/m.test(worker.stderr));
  await t.throwsAsync(batchStatus(address), {
    code: 'ERR_REDIS',
    message: /127\.0\.0\.1:\d+ .*ECONNREFUSED/,
  });
  await redis.revive();
  await held.release();
  await until('all images', async () => {
    const { chunks, batches } = await batchStatus(address);
    return batches[0]?.images.done === 40 && chunks.running === 0;
  });
  worker.kill('SIGINT');
  t.is((await worker.ended).code, 0);
  t.deepEqual((await batchStatus(address)).chunks, { waiting: 0, running: 0, delayed: 0, failed: 0 });
  const collected = await collectManifest(join(root, 'out'));
  t.like(collected, { images: 40, failed: 0, results: 40, missingChunks: 0, missingResults: [] });
});

withRedis('Redis is killed in the middle and forgets all: submitting again goes on', async (t) => {
  const redis = await RedisServer.start('--appendonly', 'no');
  t.teardown(() => redis.stop());
  const { root, photos } = await makePictures(40);
  const address = { redis: redis.url, queue: 'forgot' };
  const options = submission(root, address, { chunkSize: 4 });
  await submitBatch(options);
  const held = await holdPicture(root, lastPicture(photos));
  const worker = new BatchProcess(t, 'work', '--redis', redis.url, '--queue', 'forgot', ...takeOverSoon);
  await until('a chunk', () => / images: /.test(worker.stdout));
  await redis.kill();
  await redis.revive();
  t.deepEqual((await batchStatus(address)).batches, [], 'the queue is empty');
  const { missingChunks } = await collectManifest(join(root, 'out'));
  t.true(missingChunks > 0 && missingChunks < 10, `${missingChunks} of 10 chunks are missing`);
  await held.release();
  const again = await submitBatch(options);
  t.is(again.chunks, 10);
  t.true(again.chunksDone >= 10 - missingChunks);
  await until('all images', async () => {
    const [batch] = (await batchStatus(address)).batches;
    return batch?.images.done === 40;
  });
  worker.kill('SIGINT');
  t.is((await worker.ended).code, 0);
  t.like(await collectManifest(join(root, 'out')), { images: 40, results: 40, missingChunks: 0 });
});

withRedis('a chunk over which three workers are lost is failed, and the others are done', async (t) => {
  const { root, photos } = await makePictures(24);
  const { address, args } = newQueue();
  await submitBatch(submission(root, address, { chunkSize: 20 }));
  const held = await holdPicture(root, join(photos, '0001.png'));
  const workers = Array.from({ length: 3 }, () => new BatchProcess(t, 'work', ...args, ...takeOverSoon));
  const deadly = await until('the chunk with the held picture', async () => {
    const { running } = await batchStatus(address);
    return running.find(({ images }) => images === 20) ?? null;
  });
  for (let losses = 0; losses < 3; losses++) {
    const victim = await until('a worker to have it', async () => {
      const { running } = await batchStatus(address);
      const holder = running.find(({ chunk }) => chunk === deadly.chunk)?.worker;
      return workers.find(({ pid, alive }) => alive && holder?.endsWith(`.${pid}`)) ?? null;
    });
    victim.kill('SIGKILL');
    await victim.ended;
  }
  await workUntilDone(address);
  const { chunks, failedChunks, batches } = await batchStatus(address);
  t.is(batches[0]?.images.done, 24 - deadly.images);
  t.like(chunks, { waiting: 0, running: 0, failed: 1 });
  t.like(failedChunks[0], { chunk: deadly.chunk });
  t.regex(failedChunks[0]?.reason ?? '', /three workers were lost/);
  await held.release();
  await submitBatch(submission(root, address, { chunkSize: 20 }));
  await workUntilDone(address);
  t.like(await collectManifest(join(root, 'out')), { images: 24, failed: 0, missingChunks: 0 });
});
