import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { Redis } from 'ioredis';
import { batchStatus, cancelBatches, collectManifest, submitBatch } from 'node-gradcam/batch';
import {
  BatchProcess,
  filesBelow,
  holdPicture,
  makePictures,
  modelPath,
  newQueue,
  type QueueAddress,
  submission,
  withRedis,
  workUntilDone,
} from '../helpers/batch.js';
import { until } from '../helpers/until.js';

// What Redis and the output folder hold of a batch, where it is damaged, and a submission that is slow.

function client(t: ExecutionContext, { redis }: QueueAddress): Redis {
  const connection = new Redis(redis);
  t.teardown(() => connection.disconnect());
  return connection;
}

withRedis('a damaged ledger is told with a code, and can be given up', async (t) => {
  const { root } = await makePictures(2);
  const { address } = newQueue();
  const redis = client(t, address);
  const key = (what: string) => `gradcam-batch:${address.queue}:${what}`;
  const { batch } = await submitBatch(submission(root, address));
  const [chunk = ''] = await redis.hkeys(key(`${batch}:chunks`));
  const damages: readonly [what: string, field: string, value: string][] = [
    ['batches', batch, '{"model":'],
    ['batches', batch, '{"model":7}'],
    [`${batch}:done`, chunk, 'null'],
    [`${batch}:done`, chunk, '{"images":"many"}'],
    [`${batch}:chunks`, chunk, 'two'],
  ];
  for (const [what, field, value] of damages) {
    const before = await redis.hget(key(what), field);
    await redis.hset(key(what), field, value);
    const error = await t.throwsAsync(batchStatus(address), { code: 'ERR_REDIS' }, value);
    t.regex(error?.message ?? '', new RegExp(`${what}.* is damaged`), value);
    if (before === null) await redis.hdel(key(what), field);
    else await redis.hset(key(what), field, before);
  }
  await redis.hset(key('batches'), batch, '{');
  t.like(await cancelBatches(address), { batches: 1, removedChunks: 1 });
  t.like(await batchStatus(address), { batches: [], chunks: { waiting: 0 } });

  await submitBatch(submission(root, address));
  await redis.hset(`gradcam:${address.queue}:${chunk}`, 'data', '{');
  const job = await t.throwsAsync(submitBatch(submission(root, address)), { code: 'ERR_REDIS' });
  t.regex(job?.message ?? '', /is damaged: .*JSON/);
});

withRedis('a damaged file of the output folder is told with a code, and ends no worker', async (t) => {
  const { root } = await makePictures(3);
  const { address } = newQueue();
  const output = join(root, 'out');
  const options = submission(root, address);
  const { batch } = await submitBatch(options);
  await workUntilDone(address);
  const folder = join(output, 'batches', batch);
  const [chunk = ''] = (await readdir(folder)).filter((name) => /^[0-9a-f]{32}\.jsonl$/.test(name));
  for (const text of ['', '{"input":', '{"input":"a.png"}\n', '7\n']) {
    await writeFile(join(folder, chunk), text);
    await t.throwsAsync(collectManifest(output), { code: 'ERR_BATCH_CHANGED', message: /Delete it/ }, text);
    await t.throwsAsync(submitBatch(options), { code: 'ERR_BATCH_CHANGED' }, text);
  }
  await writeFile(join(folder, 'chunks.jsonl'), '{"chunk":"../../etc/passwd","images":1}\n');
  await t.throwsAsync(collectManifest(output), { code: 'ERR_BATCH_CHANGED', message: /chunks\.jsonl/ });
});

withRedis('a worker that is to end when all is done waits for a submission that is slow', async (t) => {
  const { root, photos } = await makePictures(3);
  const { address, args } = newQueue();
  const redis = client(t, address);
  const asked = async () =>
    Number(/cmdstat_zcount:calls=(\d+)/.exec(await redis.info('commandstats'))?.[1] ?? 0);
  const submit = ['submit', modelPath, '--list', '-', '-o', join(root, 'out'), '--size', '32', ...args];
  const slow = new BatchProcess(t, ...submit);
  slow.type(join(photos, '0001.png'));
  await until('the submission to begin', async () => (await batchStatus(address)).submissions === 1);
  const worker = new BatchProcess(t, 'work', '--exit-when-done', ...args);
  await until('the worker', () => /^Working on/.test(worker.stdout));
  const before = await asked();
  await until('the worker to have asked three times', async () => {
    if (!worker.alive) throw new Error(`The worker ended: ${worker.stdout}`);
    return (await asked()) >= before + 3;
  });
  slow.type(join(photos, '0002.png'));
  slow.endInput();
  t.is((await slow.ended).code, 0);
  const { code, stdout } = await worker.ended;
  t.is(code, 0);
  t.regex(stdout, /^Ended after 1 chunk: 2 images\.$/m);

  // One that is gone without a word is not waited for for ever.
  const lost = new BatchProcess(t, ...submit);
  await until('the other submission', async () => (await batchStatus(address)).submissions === 1);
  lost.kill('SIGKILL');
  await lost.ended;
  t.is((await batchStatus(address)).submissions, 1);
  t.deepEqual(await workUntilDone(address), { chunks: 0, images: 0, failed: 0 });
  t.is((await batchStatus(address)).submissions, 0);
});

// Of two submissions of the same batch the later one decides, also where it is over before the other has begun to queue.
for (const isLost of [false, true]) {
  withRedis(
    `a later submission was faster and ${isLost ? 'was lost: all is done, and it is told of' : 'ended: the batch is complete'}`,
    async (t) => {
      const { root, photos } = await makePictures(2);
      const { address } = newQueue();
      const redis = client(t, address);
      const paths = [...(await filesBelow(photos)).keys()].sort();
      const list = join(root, 'list.txt');
      await writeFile(list, paths.join('\n'));
      const options = { ...submission(root, address), images: [], list };
      const begun = async () => await redis.keys(`gradcam-batch:${address.queue}:*:submissions`);
      // The first one waits for the picture that it tries.
      const held = await holdPicture(root, paths[0] ?? '');
      const first = submitBatch(options);
      await until('the first submission to begin', async () => (await begun()).length === 1);
      if (isLost) await redis.incr((await begun())[0] ?? '');
      else await submitBatch({ ...options, tryOut: false });
      await held.release();
      const { batch } = await first;
      const status = await batchStatus(address);
      t.is(status.batches.length, 1);
      t.like(status.batches[0], { batch, submissionComplete: !isLost, images: { total: 2 } });
      t.like(await workUntilDone(address), { images: 2, failed: 0 });
    },
  );
}
