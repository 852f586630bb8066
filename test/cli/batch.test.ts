import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import test from 'ava';
import { batchStatus, collectManifest, runBatchWorker, submitBatch } from 'node-gradcam/batch';
import {
  BatchProcess,
  makePictures,
  modelPath,
  newQueue,
  readManifest,
  submission,
  withRedis,
  workUntilDone,
} from '../helpers/batch.js';
import { fitsColumns, gradcam, refused } from '../helpers/cli.js';
import { runScript } from '../helpers/run-script.js';
import { until } from '../helpers/until.js';

// gradcam batch, as people use it.

withRedis('the command line: submit, work, status, collect, in 80 columns', async (t) => {
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
  t.regex(status.stdout, /█ 100\.0%\n.*\n.*\n +images +5 of 5 done, 0 failed$/m);
  const watch = await gradcam(['batch', 'status', '--watch', ...args]);
  t.regex(watch.stdout, /^5 of 5 images, \d+\.\d images\/s, 0 failed, 0 workers\n$/);
  const json = JSON.parse((await gradcam(['batch', 'status', '--json', ...args])).stdout);
  t.like(json.batches[0].images, { total: 5, done: 5, failed: 0 });
  const collected = await new BatchProcess(t, 'collect', output).ended;
  t.is(collected.code, 0);
  t.is((await readManifest(output)).length, 5);
  for (const line of [worked, status, watch].flatMap(({ stdout }) => stdout.split('\n')))
    t.true(line.length <= 80 || /model|output/.test(line), line);
});

withRedis('Ctrl-C of submit: what is queued stays, and submitting again goes on', async (t) => {
  const { root } = await makePictures(40);
  const { address, args } = newQueue();
  const output = join(root, 'out');
  const options = submission(root, address, { chunkSize: 1 });
  const interruption = new AbortController();
  const reason = new Error('interrupted');
  const onProgress = ({ chunks }: { chunks: number }) => {
    if (chunks === 33) interruption.abort(reason);
  };
  const { signal } = interruption;
  await t.throwsAsync(submitBatch({ ...options, signal, onProgress }), { is: reason });
  t.is((await batchStatus(address)).chunks.waiting, 32);
  const status = await new BatchProcess(t, 'status', ...args).ended;
  t.regex(status.stdout, /^ +being submitted; if that was interrupted, submit it again$/m);
  t.is((await workUntilDone(address)).images, 32);
  await t.throwsAsync(collectManifest(output), { code: 'ERR_BATCH_FOLDER', message: /did not end/ });

  t.like(await submitBatch(options), { chunks: 40, chunksQueued: 0, chunksDone: 32 });
  t.is((await workUntilDone(address)).images, 8);
  t.like(await collectManifest(output), { images: 40, results: 40, missingChunks: 0 });
});

withRedis('Ctrl-C of submit while it waits for standard input: 130, and nothing is queued', async (t) => {
  const { root, photos } = await makePictures(2);
  const { address, args } = newQueue();
  const submit = new BatchProcess(t, 'submit', modelPath, '--list', '-', '-o', join(root, 'out'), ...args);
  submit.type(join(photos, '0001.png'));
  await until('it to be announced', async () => (await batchStatus(address)).submissions === 1);
  submit.kill('SIGINT');
  const { code, stderr } = await submit.ended;
  t.deepEqual([code, stderr], [130, 'interrupted\n']);
  t.like(await batchStatus(address), { batches: [], submissions: 0 });
});

test.serial('the command line: help in 80 columns, mistakes end with 2, no Redis with 3', async (t) => {
  for (const command of [[], ['run'], ['submit'], ['work'], ['status'], ['collect'], ['cancel']]) {
    const { code, stdout } = await gradcam(['batch', ...command, '--help']);
    t.is(code, 0);
    fitsColumns(t, stdout);
    t.regex(stdout, /Exit codes:\n {2}0 /);
  }
  const mistakes: readonly [args: string[], message: RegExp][] = [
    [['submit', modelPath, '-o', 'out'], /Give images, folders or patterns/],
    [['run', modelPath, '-o', 'out'], /Give images, folders or patterns/],
    [['work', '--secret-file', 'nowhere.key'], /Cannot read the secret 'nowhere.key'/],
    [['work', '--root', 'nowhere'], /folders that exist for roots/],
    [['submit', modelPath, 'photos'], /--output <folder>' not specified/],
    [['submit', modelPath, 'photos', '-o', 'out', '--chunk', '0'], /at least 1/],
    [['submit', modelPath, 'photos', '-o', 'out', '--top', '2', '--class', '1'], /--class or --top/],
    [['work', '--take-over', 'never'], /at least 1/],
    [['cancel'], /Name a batch, or give --all/],
    [['status', '--redis', 'localhost'], /ERR_INVALID_ARG_TYPE/],
    [['wrok'], /unknown command 'wrok'/],
  ];
  for (const [args, message] of mistakes) await refused(t, ['batch', ...args], 2, message);
  const noRedis = /^error: Redis at redis:\/\/:\*\*\*@127\.0\.0\.1:1 .*ECONNREFUSED.*\(ERR_REDIS\)\n$/;
  await refused(t, ['batch', 'work', '--redis', 'redis://:word@127.0.0.1:1'], 3, noRedis);
});

test.serial('neither BullMQ nor ioredis is loaded before a queue is used', async (t) => {
  const { root } = await makePictures(1);
  const script = (work: string) => `
    import { createRequire } from 'node:module';
    ${work}
    const loaded = Object.keys(createRequire(import.meta.url).cache).some((path) => path.includes('ioredis'));
    process.exitCode = loaded ? 7 : 0;`;
  const loads = async (work: string) => (await runScript(script(work))).code === 7;
  t.false(await loads(`await import('node-gradcam');`));
  const options = JSON.stringify(submission(root, {}));
  t.false(
    await loads(`const { runBatch } = await import('node-gradcam/batch'); await runBatch(${options});`),
  );
  t.true(
    await loads(`
      const { batchStatus } = await import('node-gradcam/batch');
      await batchStatus({ redis: 'redis://127.0.0.1:1' }).catch(() => {});`),
  );
});

test('something that listens and never answers is no Redis: told in seconds', async (t) => {
  const mute = createServer(() => {}).listen(0, '127.0.0.1');
  t.teardown(() => mute.close());
  await once(mute, 'listening');
  const redis = `redis://127.0.0.1:${(mute.address() as AddressInfo).port}`;
  const message = /^Redis at redis:\/\/127\.0\.0\.1:\d+ cannot be used: (no answer|Command timed out)/;
  await Promise.all([
    t.throwsAsync(batchStatus({ redis }), { code: 'ERR_REDIS', message }),
    t.throwsAsync(runBatchWorker({ redis }), { code: 'ERR_REDIS', message }),
  ]);
});
