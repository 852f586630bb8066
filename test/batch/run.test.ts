import { execFile } from 'node:child_process';
import { rmSync } from 'node:fs';
import { cp, mkdir, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import test from 'ava';
import {
  type BatchRunReport,
  collectManifest,
  type RunEvent,
  runBatch,
  submitBatch,
} from 'node-gradcam/batch';
import {
  BatchProcess,
  type Ending,
  filesBelow,
  holdPicture,
  makePictures,
  modelPath,
  newQueue,
  program,
  readManifest,
  submission,
  successes,
  withRedis,
  workUntilDone,
} from '../helpers/batch.js';
import { gradcam } from '../helpers/cli.js';
import { testWith } from '../helpers/test-with.js';
import { until } from '../helpers/until.js';

// A batch on one machine, without a queue, as people and as programs run it.

/** The content of every file below a folder. */
async function contents(folder: string): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  for (const path of [...(await filesBelow(folder)).keys()].sort())
    files.set(relative(folder, path), await readFile(path, 'hex'));
  return files;
}

/** A list of all pictures of a folder: a held one is no file that a folder is searched for. */
async function listPictures(root: string, photos: string): Promise<string> {
  const list = join(root, 'list.txt');
  await writeFile(list, [...(await filesBelow(photos)).keys()].sort().join('\n'));
  return list;
}

const chunksTold = ({ stdout }: BatchProcess) => stdout.match(/ images: /g)?.length ?? 0;

withRedis('the same files as by submit, a worker and collect, byte by byte', async (t) => {
  const { root, photos } = await makePictures(14);
  const output = join(root, 'out');
  await cp(join(photos, '0001.png'), join(photos, 'copy.png'));
  await writeFile(join(photos, 'broken.jpg'), 'no picture');
  const { address } = newQueue();
  const list = join(root, 'list.txt');
  await writeFile(list, join(photos, 'gone.png'));
  for (const format of ['png', 'npy'] as const) {
    const options = { ...submission(root, {}), list, chunkSize: 4, top: 2, format };
    // One image in a forward: what shares one is a matter of time, and the last digits of a score of what shares one.
    const { reused, ...report } = await runBatch({ ...options, batchSize: 1, concurrency: 2 });
    t.like(report, { images: 17, chunks: 5, chunksDone: 0, computed: 14, failed: 2, failedChunks: [] });
    t.is(reused + report.duplicates, 1, 'the copy');
    t.deepEqual(report.failures.map(({ input }) => input).sort(), [
      join(photos, 'broken.jpg'),
      join(photos, 'gone.png'),
    ]);
    const byRun = await contents(output);
    await rm(output, { recursive: true });
    const { batch } = await submitBatch({ ...options, ...address });
    t.is(batch, report.batch);
    await workUntilDone(address, { batchSize: 1 });
    const { manifest } = await collectManifest(output);
    t.is(manifest, report.manifest);
    t.deepEqual(await contents(output), byRun, format);
    t.like(await runBatch(options), { chunksDone: 5, computed: 0, reused: 15, failed: 2 }, 'known to a run');
    await rm(output, { recursive: true });
  }
});

test.serial('killed in the middle with kill -9, and run again: what is done is not done again', async (t) => {
  const { root, photos } = await makePictures(40);
  const output = join(root, 'out');
  const list = await listPictures(root, photos);
  const held = await holdPicture(root, join(photos, 'below/0039.png'));
  const run = ['run', modelPath, '--list', list, '-o', output, '--size', '32', '--chunk', '10'];
  const first = new BatchProcess(t, ...run);
  await until('the pictures before the held one', async () => {
    if (!first.alive) throw new Error(first.stderr);
    return chunksTold(first) === 3;
  });
  first.kill('SIGKILL');
  t.is((await first.ended).signal, 'SIGKILL');
  await held.release();
  const before = await filesBelow(join(output, 'results'));
  t.true(before.size >= 60 && before.size < 80, String(before.size));
  t.like(await collectManifest(output), { missingChunks: 1, missingImages: 10 }, 'known before the end');

  const { code, stdout, stderr } = await new BatchProcess(t, ...run).ended;
  t.is(code, 0, stderr);
  t.regex(stdout, /^time {4}\d+ s, \d+\.\d images\/s$/m);
  t.regex(stdout, /^Batch [0-9a-f]{16}: 40 images, of which 30 are done\.$/m);
  t.regex(stdout, /^images {2}40: (10|[0-9]) explained, \d+ there already, 0 repeated$/m);
  const after = await filesBelow(join(output, 'results'));
  for (const [path, time] of before) t.is(after.get(path), time, path);
  t.is(after.size, 80);
  t.is(successes(await readManifest(output)).length, 40);
  // Nothing is left of what was put aside, nor half written.
  t.deepEqual(
    [...(await filesBelow(output)).keys()].filter((path) => path.endsWith('.tmp')),
    [],
  );

  const done = await new BatchProcess(t, ...run).ended;
  t.regex(done.stdout, /of which 40 are done.*\n(?!.* images: )/);
  t.deepEqual(await filesBelow(join(output, 'results')), after);
});

test.serial('Ctrl-C: it says how to go on, ends with 130, and goes on from there', async (t) => {
  const { root, photos } = await makePictures(20);
  const list = await listPictures(root, photos);
  const held = await holdPicture(root, join(photos, 'below/0018.png'));
  const run = ['run', modelPath, '--list', list, '-o', join(root, 'out'), '--size', '32', '--chunk', '5'];
  const first = new BatchProcess(t, ...run);
  await until('three chunks', () => chunksTold(first) === 3);
  first.kill('SIGINT');
  await until('the last words', () => /interrupted/.test(first.stderr));
  await held.release();
  const { code, stdout, stderr } = await first.ended;
  t.deepEqual([code, stderr], [130, 'interrupted\n']);
  t.regex(stdout, /^1[5-9] of 20 images are done\. The same command goes on from there\.$/m);
  const second = await new BatchProcess(t, ...run).ended;
  t.is(second.code, 0, second.stderr);
  t.regex(second.stdout, /of which 15 are done/);
});

test.serial('two runs at once: of one batch the second is refused, another batch goes on', async (t) => {
  const { root, photos } = await makePictures(8);
  const output = join(root, 'out');
  const list = await listPictures(root, photos);
  const held = await holdPicture(root, join(photos, '0007.png'));
  const run = ['run', modelPath, '--list', list, '-o', output, '--size', '32', '--chunk', '4'];
  const first = new BatchProcess(t, ...run);
  await until('a chunk', () => chunksTold(first) === 1);
  const again = await gradcam(['batch', ...run]);
  t.is(again.code, 3);
  t.regex(again.stderr, /^error: Another run of the batch .*\(ERR_BATCH_RUNNING\)\n$/);
  const other = { ...submission(root, {}), images: [join(photos, '0001.png')] };
  t.like(await runBatch(other), { images: 1, failed: 0 }, 'another batch');
  await held.release();
  const { code, stderr } = await first.ended;
  t.is(code, 0, stderr);
  t.is((await readManifest(output)).length, 9);
  t.regex((await gradcam(['batch', ...run])).stdout, /of which 4 are done/, 'it is free again');
});

test.serial('pictures that cannot be read are told, and end it with 1', async (t) => {
  const { root, photos } = await makePictures(4);
  await writeFile(join(photos, 'broken.jpg'), 'no picture');
  const run = ['batch', 'run', modelPath, photos, '-o', join(root, 'out'), '--size', '32'];
  const { code, stdout, stderr } = await gradcam(run);
  t.deepEqual([code, stderr], [1, '']);
  t.regex(stdout, /^images {2}5: 4 explained, 0 there already, 0 repeated\n {8}1 could not be explained$/m);
  t.regex(stdout, /^failed {3}Cannot read '.*broken\.jpg'/m);
  const json = await gradcam([...run, '--json']);
  t.is(json.code, 1);
  const report = JSON.parse(json.stdout) as BatchRunReport;
  t.like(report, { images: 5, chunks: 1, chunksDone: 1, reused: 4, failed: 1, failedChunks: [] });
  t.regex(report.failures[0]?.message ?? '', /broken\.jpg/);
});

test.serial('nothing to do, no model, a wrong layer: refused at once, and nothing is written', async (t) => {
  const { root, photos } = await makePictures(1);
  const output = join(root, 'out');
  const empty = join(root, 'empty');
  await mkdir(empty);
  const run = (model: string, ...rest: string[]) => gradcam(['batch', 'run', model, '-o', output, ...rest]);
  const refusals: readonly [ending: Awaited<ReturnType<typeof run>>, code: number, message: RegExp][] = [
    [await run(modelPath, empty), 2, /at least one picture/],
    [await run(join(root, 'nowhere.pt'), photos), 3, /nowhere\.pt.*ERR_MODEL_NOT_FOUND/],
    [await run(modelPath, photos, '--layer', 'nowhere'), 2, /ERR_UNKNOWN_LAYER/],
    [await run(modelPath, photos, '--class', '99'), 2, /ERR_CLASS_OUT_OF_RANGE/],
    [await run(modelPath, join(root, 'nowhere')), 2, /that exist/],
    [await run(modelPath, photos, '--device', 'tpu'), 2, /device/],
  ];
  for (const [{ code, stdout, stderr }, expected, message] of refusals) {
    t.is(code, expected, stderr);
    t.regex(stderr, message);
    t.is(stdout, '');
  }
  t.false((await readdir(root)).includes('out'));
  for (const wrong of [{ concurrency: 0 }, { batchSize: 1.5 }, { attempts: 0 }])
    await t.throwsAsync(runBatch({ ...submission(root, {}), ...wrong }), { code: 'ERR_OUT_OF_RANGE' });
  await t.throwsAsync(runBatch({ ...submission(root, {}), redis: 'redis://x' } as never), {
    code: 'ERR_UNKNOWN_OPTION',
  });
});

test.serial(
  'a chunk that fails is tried again where that may help, and told where it does not',
  async (t) => {
    const { root } = await makePictures(4);
    const obstacle = join(root, 'out', 'results');
    await mkdir(join(root, 'out'));
    await symlink('results', obstacle); // a link to itself
    const events: RunEvent[] = [];
    const onEvent = (event: RunEvent) => {
      events.push(event);
      if (event.kind === 'failed') rmSync(obstacle, { force: true });
    };
    const { computed, reused, ...report } = await runBatch({ ...submission(root, {}), onEvent });
    t.is(computed + reused, 4);
    t.like(report, { failed: 0, failedChunks: [] });
    t.deepEqual(
      events.flatMap((event) => (event.kind === 'failed' ? [event.willRetry] : [])),
      [true],
    );

    await rm(obstacle, { recursive: true });
    await symlink('results', obstacle);
    const options = { ...submission(root, {}), top: 2, chunkSize: 3 };
    const lost = await runBatch({ ...options, attempts: 2 });
    t.deepEqual(
      lost.failedChunks.map(({ images, attempts }) => [images, attempts]),
      [
        [3, 2],
        [1, 2],
      ],
    );
    await rm(obstacle);
    t.like(await runBatch(options), { computed: 4, failedChunks: [] });

    const wrong = { classes: [99], tryOut: false };
    const { failedChunks } = await runBatch({ ...submission(root, {}), ...wrong });
    t.like(failedChunks, [{ images: 4, attempts: 1 }]);
    t.regex(failedChunks[0]?.reason ?? '', /Class 99 .*\(ERR_CLASS_OUT_OF_RANGE\)/);

    await rename(obstacle, join(root, 'aside'));
    await writeFile(obstacle, 'a file where the folder belongs');
    await t.throwsAsync(runBatch({ ...submission(root, {}), top: 3 }), { code: 'ERR_BATCH_FOLDER' });
  },
);

testWith('namespaces')('a disk that is full ends it with 3; with space it goes on', async (t) => {
  const { root, photos } = await makePictures(24);
  const disk = join(root, 'disk');
  await mkdir(disk);
  // On a disk of its own, which is seen by these commands only: full, made larger, and copied at the end.
  const script = `
    set -e
    mount -t tmpfs -o size=160k tmpfs "$DISK"
    set +e; "$@"; echo "ended with $?"; set -e
    mount -o remount,size=64m "$DISK"
    "$@"
    cp -r "$DISK/out" "$COPY"`;
  const run = ['batch', 'run', modelPath, photos, '-o', join(disk, 'out'), '--chunk', '4', '--size', '64'];
  const args = [
    '--map-root-user',
    '--mount',
    'bash',
    '-c',
    script,
    'bash',
    process.execPath,
    program,
    ...run,
  ];
  const copy = join(root, 'copy');
  const env = { ...process.env, DISK: disk, COPY: copy };
  const { code, stdout, stderr } = await new Promise<Ending>((resolve) => {
    const child = execFile('unshare', args, { env }, (_error, stdout, stderr) => {
      resolve({ code: child.exitCode, signal: child.signalCode, stdout, stderr });
    });
  });
  t.is(code, 0, stderr);
  t.regex(stderr, /^error: Cannot write into the output folder '.*ENOSPC.*\(ERR_BATCH_FOLDER\)\n$/);
  t.regex(stdout, /^\d+ of 24 images are done\. The same command goes on from there\.\nended with 3$/m);
  t.regex(stdout, /^images {2}24: \d+ explained, \d+ there already, 0 repeated$/m);
  t.deepEqual(
    [...(await filesBelow(copy)).keys()].filter((path) => path.endsWith('.tmp')),
    [],
  );
  t.is(successes(await readManifest(copy)).length, 24);
});

test('options of the method, and a sidecar elsewhere or none, as submit takes them', async (t) => {
  const { root, photos } = await makePictures(1);
  const model = join(root, 'net.pt');
  await cp(modelPath, model);
  await writeFile(join(root, 'net.json'), '{"epochs": 3}');
  const labels = Array.from({ length: 5 }, (_, index) => `own ${index}`);
  await writeFile(join(root, 'own.json'), JSON.stringify({ input: { width: 32, height: 32 }, labels }));
  const output = join(root, 'out');
  const run = (...more: string[]) =>
    gradcam(['batch', 'run', model, photos, '-o', output, '-m', 'ablationcam', '--format', 'npy', ...more]);
  t.regex((await run()).stderr, /ERR_SIDECAR/, 'another program’s file lies beside the model');
  const own = await run('--sidecar', join(root, 'own.json'));
  t.is(own.code, 0, own.stderr);
  const [explained] = successes(await readManifest(output)).flatMap((entry) => entry.explained);
  t.is(explained?.label, `own ${explained?.classIndex}`);
  const none = ['--no-sidecar', '--size', '32'];
  for (const more of [none, [...none, '--option', 'ratioChannelsToAblate=0.25']]) {
    const { code, stderr } = await run(...more);
    t.is(code, 0, stderr);
  }
  const maps = [...(await filesBelow(output)).keys()].filter((path) => path.endsWith('.npy'));
  t.is(maps.length, 3);
  t.is(new Set(await Promise.all(maps.map((path) => readFile(path, 'hex')))).size, 2);
  for (const wrong of [
    ['--option', 'ratio=1'],
    ['--sidecar', join(root, 'gone.json')],
  ])
    t.is((await run(...none, ...wrong)).code, 2, wrong.join(' '));
});
