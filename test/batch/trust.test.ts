import { mkdir, readdir, rename, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { inspect } from 'node:util';
import type { ExecutionContext } from 'ava';
import { Queue } from 'bullmq';
import { batchStatus, collectManifest, submitBatch, type WorkerEvent } from 'node-gradcam/batch';
import { packageVersion } from '../../lib/addon/package-version.js';
import {
  addJob,
  BatchProcess,
  filesBelow,
  makePictures,
  modelPath,
  newQueue,
  type QueueAddress,
  submission,
  withRedis,
  workUntilDone,
} from '../helpers/batch.js';
import { gradcam } from '../helpers/cli.js';
import { RedisServer } from '../helpers/redis-server.js';
import { fixturePath } from '../helpers/root.js';

// What workers take from whoever can write to Redis or to the output folder: nothing that was not submitted, nothing outside
// their folders, nothing that is not signed.

/** The failures that a worker tells, which must do all that is left in the queue and end well. */
async function failuresOfWorker(address: QueueAddress, options: object = {}): Promise<string[]> {
  const failures: string[] = [];
  const onEvent = (event: WorkerEvent) => {
    if (event.kind === 'failed') failures.push(`${event.willRetry} ${event.reason}`);
  };
  await workUntilDone(address, { ...options, onEvent });
  return failures;
}

/** The data of the one job that waits. */
async function waitingJob(t: ExecutionContext, { redis, queue }: QueueAddress) {
  const jobs = new Queue(queue, { connection: { url: redis }, prefix: 'gradcam' });
  t.teardown(() => jobs.close());
  const [job] = await jobs.getWaiting();
  if (!job) throw new Error('No job waits.');
  return { jobs, id: job.id as string, data: job.data as Record<string, unknown> };
}

withRedis('jobs that no submission made are failed, write nothing, and the worker goes on', async (t) => {
  const { root, photos } = await makePictures(3);
  const { address } = newQueue();
  const { batch } = await submitBatch(submission(root, address));
  const { id, data } = await waitingJob(t, address);
  const file = [join(photos, '0001.png'), 1, 2];
  const hostile: readonly [id: string, data: unknown][] = [
    ['../../../escaped', data],
    ['f'.repeat(32), data],
    ['0'.repeat(32), { ...data, files: [...(data.files as unknown[]), file] }],
    ['1'.repeat(32), { ...data, batch: '../../escaped' }],
    ['2'.repeat(32), { ...data, folder: 'escaped' }],
    ['3'.repeat(32), { ...data, folder: `${root}/out/../escaped` }],
    ['4'.repeat(32), { ...data, files: [['0001.png']] }],
    ['5'.repeat(32), { ...data, files: [[`${photos}/../../../etc/passwd`]] }],
    ['6'.repeat(32), { ...data, files: [] }],
    ['7'.repeat(32), { ...data, files: 'all' }],
    ['8'.repeat(32), { ...data, more: 1 }],
    ['9'.repeat(32), { version: packageVersion }],
    ['a'.repeat(32), 7],
    ['b'.repeat(32), null],
    ['\u001b[2J\u001b]0;escaped', { ...data, batch: null }],
  ];
  for (const [badId, badData] of hostile) await addJob(address, badId, badData);
  const before = await filesBelow(root);
  const failures = await failuresOfWorker(address);
  t.is(failures.length, hostile.length);
  for (const failure of failures) t.regex(failure, /^false The job is not one that .*\(ERR_BATCH_JOB\)$/);
  const added = [...(await filesBelow(root)).keys()].filter((path) => !before.has(path));
  const expected = new RegExp(`^${root}/out/(results/[0-9a-f]{2}/[0-9a-f]{64}|batches/${batch}/${id})\\.`);
  t.is(added.length, 4);
  for (const path of added) t.regex(path, expected);
  t.like(await collectManifest(join(root, 'out')), { images: 3, missingChunks: 0 });
  const { failedChunks } = await batchStatus(address);
  t.is(failedChunks.length, 10);
  const { stdout } = await gradcam(['batch', 'status', '--redis', address.redis, '--queue', address.queue]);
  t.regex(stdout, /ERR_BATCH_JOB/);
  t.notRegex(stdout, /\p{Cc}(?<!\n)/u, 'a terminal obeys nothing that stands in a queue');
});

withRedis('--root: nothing outside is read or written, also through links', async (t) => {
  const { root, photos } = await makePictures(2);
  const elsewhere = (await makePictures(2, 40)).photos;
  const output = join(root, 'out');
  const models = fixturePath('');
  const attempt = async (extra: object, roots: readonly string[]) => {
    const { address } = newQueue();
    await submitBatch(submission(root, address, extra));
    const [failure, ...more] = await failuresOfWorker(address, { roots });
    t.deepEqual(more, []);
    const { chunks } = await batchStatus(address);
    t.is(chunks.failed, failure === undefined ? 0 : 1);
    return failure?.replace(/^false /, '');
  };
  const outside = (path: string) =>
    new RegExp(`^'${path}.*' is in none of the folders .*\\(ERR_BATCH_ROOT\\)$`);

  t.regex((await attempt({}, [root])) ?? '', outside(modelPath));
  t.regex((await attempt({}, [photos, models])) ?? '', outside(output));
  t.regex((await attempt({}, [output, models])) ?? '', outside(photos));
  t.deepEqual(
    await filesBelow(join(output)).then((files) => [...files.keys()].filter((path) => /results/.test(path))),
    [],
  );
  t.is(await attempt({ images: [join(photos, '0001.png')] }, [root, models]), undefined);

  await symlink(join(elsewhere, '0001.png'), join(photos, 'link.png'));
  t.regex((await attempt({ images: [join(photos, 'link.png')] }, [root, models])) ?? '', outside(photos));
  const linkedRoot = join(root, 'linked');
  await symlink(root, linkedRoot);
  const byLink = { images: [join(linkedRoot, 'photos/below')], output: join(root, 'out-2') };
  t.is(await attempt(byLink, [linkedRoot, models]), undefined);
  const prefix = join(root, 'out-');
  await mkdir(prefix);
  const beside = { images: [join(photos, '0001.png')], output: `${prefix}3` };
  t.regex((await attempt(beside, [prefix, photos, models])) ?? '', outside(`${prefix}3`));

  // The folder of the results is a link to another place.
  const aside = join(elsewhere, 'aside');
  await mkdir(aside);
  const trap = join(root, 'trap');
  await mkdir(trap);
  await symlink(aside, join(trap, 'results'));
  const trapped = await attempt({ output: trap, images: [join(photos, '0001.png')] }, [root, models]);
  t.regex(trapped ?? '', outside(join(trap, 'results')));
  t.deepEqual(await readdir(aside), []);

  // A file of the batch is a link to one outside.
  const { address } = newQueue();
  const output4 = join(root, 'out-4');
  const { batch } = await submitBatch(submission(root, address, { output: output4 }));
  const specification = join(output4, 'batches', batch, 'batch.json');
  await rename(specification, join(aside, 'batch.json'));
  await symlink(join(aside, 'batch.json'), specification);
  const [failure] = await failuresOfWorker(address, { roots: [root, models] });
  t.regex(failure ?? '', /batch\.json' is in none of the folders/);
});

withRedis(
  'signed chunks: only those with the worker’s secret are done, and the worker goes on',
  async (t) => {
    const { root, photos } = await makePictures(4);
    const { address } = newQueue();
    const secret = 'correct horse battery staple';
    const picture = (name: string) => ({ images: [join(photos, name)] });
    await submitBatch(
      submission(root, address, { ...picture('0001.png'), secret: 'wrong horse battery staple' }),
    );
    await submitBatch(submission(root, address, picture('0002.png')));
    await submitBatch(submission(root, address, { ...picture('below'), secret }));
    t.deepEqual((await failuresOfWorker(address, { secret })).sort(), [
      'false The job is not signed. Submit and work with the same secret; who else writes to this Redis? (ERR_BATCH_SIGNATURE)',
      'false The job is signed with another secret, or was changed. Submit and work with the same secret; who else writes to this Redis? (ERR_BATCH_SIGNATURE)',
    ]);
    const done = async () => (await batchStatus(address)).batches.map(({ images }) => images.done);
    t.deepEqual(await done(), [0, 0, 2]);

    // A signature is for the very pictures, batch and folder.
    const { address: other } = newQueue();
    await submitBatch(submission(root, other, { secret, output: join(root, 'other') }));
    const { jobs, id, data } = await waitingJob(t, other);
    await jobs.remove(id);
    for (const change of [
      { folder: join(root, 'out') },
      { version: '0.0.1' },
      { files: [[join(photos, '0001.png')]] },
    ])
      await addJob(other, `${id}${Object.keys(change)[0]}`, { ...data, ...change });
    const failures = await failuresOfWorker(other, { secret });
    t.is(failures.length, 3);
    for (const failure of failures) t.regex(failure, /was changed.*ERR_BATCH_SIGNATURE/);

    // Submitted again with the right secret: what failed, and what waits without it, is signed.
    await submitBatch(submission(root, address, { ...picture('0001.png'), secret }));
    await submitBatch(submission(root, address, picture('0002.png')));
    await submitBatch(submission(root, address, { ...picture('0002.png'), secret }));
    t.deepEqual(await failuresOfWorker(address, { secret: Buffer.from(secret) }), []);
    t.deepEqual((await done()).sort(), [1, 1, 2]);

    for (const wrong of ['short', new Uint8Array(15)]) {
      const error = await t.throwsAsync(workUntilDone(address, { secret: wrong }), {
        code: 'ERR_OUT_OF_RANGE',
      });
      t.notRegex(error?.message ?? '', /short/);
    }
    await t.throwsAsync(submitBatch(submission(root, address, { secret: 7 as never })), {
      code: 'ERR_INVALID_ARG_TYPE',
    });
  },
);

withRedis('the command line signs with a file or the environment', async (t) => {
  const { root, photos } = await makePictures(2);
  const { args } = newQueue();
  const key = join(root, 'batch.key');
  await writeFile(key, 'correct horse battery staple\n');
  const submit = ['submit', modelPath, photos, '-o', join(root, 'out'), '--size', '32', ...args];
  t.is((await new BatchProcess(t, ...submit, '--secret-file', key).ended).code, 0);
  process.env.GRADCAM_BATCH_SECRET = 'another secret of sixteen';
  t.teardown(() => delete process.env.GRADCAM_BATCH_SECRET);
  const wrong = await new BatchProcess(t, 'work', '--exit-when-done', ...args).ended;
  t.is(wrong.code, 0, wrong.stderr);
  t.regex(
    wrong.stdout,
    /^[0-9a-f]{8} {2}failed: The job is signed with another secret.*ERR_BATCH_SIGNATURE/m,
  );
  process.env.GRADCAM_BATCH_SECRET = 'correct horse battery staple';
  t.is((await new BatchProcess(t, ...submit).ended).code, 0);
  const right = await new BatchProcess(
    t,
    'work',
    '--exit-when-done',
    '--root',
    root,
    '--root',
    fixturePath(''),
    ...args,
  ).ended;
  t.regex(right.stdout, /^Ended after 1 chunk: 2 images\.$/m, right.stderr);
});

withRedis('a model that crashes the loader does not take the worker with it', async (t) => {
  const { root } = await makePictures(1);
  const { address, args } = newQueue();
  await submitBatch(submission(root, address));
  const crash = join(root, 'crash.cjs');
  await writeFile(
    crash,
    `if (/preflight\\.js$/.test(process.argv[1])) process.kill(process.pid, 'SIGSEGV');`,
  );
  process.env.NODE_OPTIONS = `--require "${crash}"`;
  t.teardown(() => delete process.env.NODE_OPTIONS);
  const worker = new BatchProcess(t, 'work', '--exit-when-done', ...args);
  delete process.env.NODE_OPTIONS;
  const { code, stderr } = await worker.ended;
  t.is(code, 3);
  t.regex(stderr, /^error: .*crashed on it \(SIGSEGV\).*\(ERR_MODEL_LOAD\)\n$/);
  t.like((await batchStatus(address)).chunks, { waiting: 1, failed: 0 });
});

withRedis('a password is in nothing that an error or a status holds', async (t) => {
  const server = await RedisServer.start('--requirepass', 'open-sesame');
  t.teardown(() => server.stop());
  const host = server.url.replace('redis://', '');
  const wrong = [
    `redis://:close-sesame@${host}`,
    `redis://close-sesame@${host}`,
    `redis://${host}?password=close-sesame`,
    `redis://:close-sesame@${host.replace(/:\d+$/, ':99999')}`,
    `redis//:close-sesame@${host}`,
    `http://:close-sesame@${host}`,
    `close-sesame:close-sesame@${host}`,
  ];
  for (const redis of wrong) {
    const error = await t.throwsAsync(batchStatus({ redis }), { any: true }, redis);
    t.notRegex(inspect(error, { depth: 10, showHidden: true }), /sesame/, redis);
    const { code, stdout, stderr } = await gradcam(['batch', 'status', '--redis', redis]);
    t.true(code === 2 || code === 3, stderr);
    t.notRegex(stdout + stderr, /sesame/, redis);
  }
  for (const redis of [`redis://:open-sesame@${host}`, `redis://${host}?password=open-sesame`]) {
    t.notRegex(JSON.stringify(await batchStatus({ redis })), /sesame/, redis);
    const { code, stdout, stderr } = await gradcam(['batch', 'status', '--redis', redis]);
    t.is(code, 0, stderr);
    t.notRegex(stdout + stderr, /sesame/, redis);
  }
});
