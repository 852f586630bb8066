import { copyFile, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { batchStatus, submitBatch } from 'node-gradcam/batch';
import {
  filesBelow,
  makePictures,
  modelPath,
  newQueue,
  submission,
  withRedis,
  workUntilDone,
} from '../helpers/batch.js';
import { gradcam } from '../helpers/cli.js';

// What a batch is told of its method and its model's sidecar, and books that are damaged.

withRedis('the method’s options are part of the batch, on the command line too', async (t) => {
  const { root, photos } = await makePictures(2);
  const { address, args } = newQueue();
  const how = { method: 'ablationcam', format: 'npy' } as const;
  const plain = await submitBatch(submission(root, address, how));
  const options = { ratioChannelsToAblate: 0.25 };
  const told = await submitBatch(submission(root, address, { ...how, options }));
  t.not(plain.batch, told.batch);
  await workUntilDone(address);
  const maps = [...(await filesBelow(join(root, 'out'))).keys()].filter((path) => path.endsWith('.npy'));
  t.is(maps.length, 4);
  t.is(new Set(await Promise.all(maps.map((path) => readFile(path, 'base64')))).size, 4);
  await t.throwsAsync(submitBatch(submission(root, address, { ...how, options: { ratio: 1 } as object })), {
    code: 'ERR_UNKNOWN_OPTION',
  });
  const submit = (...more: string[]) =>
    gradcam(['batch', 'submit', modelPath, photos, '-o', join(root, 'out'), '--size', '32', '-m', 'ablationcam', '--format', 'npy', ...more, '--json', ...args]); // biome-ignore format: one line
  const again = await submit('--option', 'ratioChannelsToAblate=0.25');
  t.is(again.code, 0, again.stderr);
  t.like(JSON.parse(again.stdout), { images: 2, chunks: 1 });
  t.is((await submit('--option', 'ratio=1')).code, 2);
});

withRedis('a sidecar of another program, and one elsewhere', async (t) => {
  const { root } = await makePictures(1);
  const { address } = newQueue();
  const model = join(root, 'net.pt');
  await copyFile(modelPath, model);
  await writeFile(join(root, 'net.json'), '{"epochs": 3}');
  await writeFile(join(root, 'own.json'), '{"input": {"width": 32, "height": 32}, "labels": ["a", "b"]}');
  const submit = (sidecar?: string | false) =>
    submitBatch(submission(root, address, { model, ...(sidecar === undefined ? {} : { sidecar }) }));
  await t.throwsAsync(submit(), { code: 'ERR_SIDECAR' });
  const { batch } = await submit(false);
  const other = await submit(join(root, 'own.json'));
  t.not(other.batch, batch);
  const specification = await readFile(join(root, 'out', 'batches', other.batch, 'batch.json'), 'utf8');
  t.deepEqual(JSON.parse(specification).labels, ['a', 'b']);
  await t.throwsAsync(submit(join(root, 'gone.json')), { code: 'ERR_INVALID_ARG_TYPE', message: /sidecar/ });
});

withRedis('damaged books of a batch are told of, and it can be cancelled', async (t) => {
  const { root } = await makePictures(1);
  const { address, args } = newQueue();
  const { batch } = await submitBatch(submission(root, address));
  const redis = new Redis(address.redis);
  t.teardown(() => redis.disconnect());
  for (const damaged of ['{"model": 3}', 'no JSON']) {
    await redis.hset(`gradcam-batch:${address.queue}:batches`, batch, damaged);
    await t.throwsAsync(batchStatus(address), {
      code: 'ERR_REDIS',
      message: new RegExp(`batch ${batch} is damaged.*gradcam batch cancel ${batch}`),
    });
  }
  const cancelled = await gradcam(['batch', 'cancel', batch, '--json', ...args]);
  t.deepEqual(JSON.parse(cancelled.stdout), { batches: 1, removedChunks: 1, runningChunks: 0 });
  t.deepEqual((await batchStatus(address)).batches, []);
});
