import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { freePort } from '../../bench/server/servers.mjs';
import { median } from '../../bench/statistics.mjs';
import { runBatchWorker, submitBatch } from '../../dist/lib/batch/index.js';

/** Chunks that wait while their memory in Redis is read, and the pictures in each of them. */
const queuedChunks = 1000;
const [few, most] = [1, 64];

/**
 * Measures what the simulation needs of batches: chunks of copies of one picture, which one worker in this process explains,
 * and the memory of a Redis of its own (`redis-server` must be installed) while chunks wait.
 * @param model - TorchScript file, with its sidecar
 * @param picture - bytes
 * @returns the part `batch` of a file of times
 */
export async function measureBatch({ model, picture, chunkSize = 32, chunks = 8, batchSize = 8, progress }) {
  const folder = mkdtempSync(join(tmpdir(), 'gradcam-simulate-'));
  const redis = await startRedis(folder);
  try {
    progress('memory of queued chunks');
    const memory = await measureMemory(redis, model, folder);
    progress(`${chunks} chunks of ${chunkSize} pictures`);
    const times = await measureChunks({ redis, model, picture, chunkSize, chunks, batchSize, folder });
    return { chunkSize, ...times, ...memory };
  } finally {
    await redis.end();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function measureMemory({ url, client }, model, folder) {
  const memoryOf = async (chunks, images) => {
    const paths = Array.from(
      { length: chunks * images },
      (_, index) => `/pictures/${String(index).padStart(20, '0')}.jpg`,
    );
    const queue = `memory-${chunks}-${images}`;
    const list = join(folder, `${queue}.txt`);
    writeFileSync(list, paths.join('\n'));
    const before = await usedMemory(client);
    const output = join(folder, queue);
    await submitBatch({ redis: url, queue, model, list, output, chunkSize: images, tryOut: false });
    const bytes = (await usedMemory(client)) - before;
    await client.flushall();
    return { images, length: paths[0].length, each: bytes / chunks };
  };
  await memoryOf(1, 1); // The first loads BullMQ's scripts into Redis.
  const [one, many] = [await memoryOf(queuedChunks, few), await memoryOf(queuedChunks, most)];
  const perImage = (many.each - one.each) / (many.images - one.images);
  return {
    redisChunkBytes: Math.max(0, one.each - one.images * perImage),
    redisPathBytes: Math.max(0, perImage - one.length),
  };
}

async function usedMemory(client) {
  return Number(/^used_memory:(\d+)/m.exec(await client.info('memory'))[1]);
}

async function measureChunks({ redis, model, picture, chunkSize, chunks, batchSize, folder }) {
  const pictures = join(folder, 'pictures');
  mkdirSync(pictures);
  // What stands behind a picture's end is not read, but makes its content another one.
  for (let index = 0; index < chunkSize * chunks; index++)
    writeFileSync(join(pictures, `${index}.img`), Buffer.concat([picture, Buffer.from(String(index))]));
  const list = join(folder, 'pictures.txt');
  writeFileSync(
    list,
    Array.from({ length: chunkSize * chunks }, (_, index) => join(pictures, `${index}.img`)).join('\n'),
  );
  const where = { redis: redis.url, queue: 'times' };
  await submitBatch({ ...where, model, list, output: join(folder, 'out'), chunkSize, tryOut: false });
  const begun = Date.now();
  const done = [];
  const report = await runBatchWorker({
    ...where,
    batchSize,
    exitWhenDone: true,
    onEvent: (event) => {
      if (event.kind === 'finished') done.push(event.summary);
    },
  });
  if (report.failed > 0 || done.length !== chunks)
    throw new Error(`${report.failed} of ${report.images} pictures could not be explained.`);
  const [first, ...others] = done.map(({ startedAt, finishedAt }) => finishedAt - startedAt);
  const gaps = done.slice(1).map(({ startedAt }, index) => startedAt - done[index].finishedAt);
  return {
    chunks: others,
    // What the first chunk takes longer belongs to the start: plans are built, kernels compiled.
    start: done[0].startedAt - begun + Math.max(0, first - median(others)),
    between: Math.max(0, median(gaps)),
  };
}

async function startRedis(folder) {
  const port = await freePort();
  const args = ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--save', ''];
  const server = spawn('redis-server', args, { stdio: 'ignore' });
  const kill = () => server.kill('SIGKILL');
  process.once('exit', kill);
  const exited = once(server, 'exit');
  const client = new Redis(port, '127.0.0.1', { lazyConnect: true, retryStrategy: null });
  client.on('error', () => {});
  for (;;) {
    const failed = await Promise.race([
      exited.then(() => 'ended'),
      client.connect().then(
        () => null,
        () => 'absent',
      ),
    ]);
    if (failed === null) break;
    if (failed === 'ended') throw new Error('redis-server ended at once.');
    await sleep(50);
  }
  return {
    url: `redis://127.0.0.1:${port}`,
    client,
    async end() {
      client.disconnect();
      kill();
      await exited;
      process.removeListener('exit', kill);
    },
  };
}
