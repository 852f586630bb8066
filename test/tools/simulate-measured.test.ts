import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { fixturePath, root, rootPath, rootUrl } from '../helpers/root.js';
import { testWith } from '../helpers/test-with.js';

// What `npm run simulate` measures on a real server, and what it makes of it.

const { MeasuredTimes, timesSchema } = await import(rootUrl('tools/simulate/measured-times.mjs'));
const { answeringTime, disturbanceOf, turnaroundOf } = await import(
  rootUrl('tools/simulate/measure-server.mjs')
);
const { search, tryOut } = await import(rootUrl('tools/simulate/search.mjs'));
const { simulate } = await import(rootUrl('tools/simulate/measured-server.mjs'));

/** A server whose batches take 10 ms and 5 more for each image, and nothing besides. */
const server = {
  model: 'tiny',
  date: '2026-01-02T00:00:00.000Z',
  machine: { processor: 'A CPU', cores: 2, loadAverage: 0 },
  executors: 1,
  threads: 2,
  maxBatch: 4,
  decodeThreads: 0,
  alone: { 1: [15], 2: [20], 3: [25], 4: [30] },
  slowdown: [1],
  around: { idle: [0], busy: [0] },
  answering: 0,
  disturbance: 0,
  turnaround: 0,
  full: { connections: 8, perSecond: 133, p50: 60, p99: 60, meanBatch: 4 },
};
const file = { version: 1, server };

function run(...args: string[]) {
  const program = [rootPath('tools/simulate/run.mjs'), ...args];
  const { status, stdout, stderr } = spawnSync(process.execPath, program, { cwd: root, encoding: 'utf8' });
  return { status, stdout, stderr };
}

function folderOf(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'gradcam simulate '));
  t.teardown(() => rmSync(folder, { recursive: true }));
  return folder;
}

test('sizes that were not measured lie between those that were, quantile by quantile', (t) => {
  const shares = [0.1, 0.9];
  const measured = (size: number) => {
    const own = [...shares];
    const times = new MeasuredTimes({ ...server, alone: { 1: [30, 10], 3: [40, 80] } }, () => own.shift());
    return [times.batch(size), times.batch(size)];
  };
  t.deepEqual(measured(1), [10, 30]);
  t.deepEqual(measured(2), [25, 55]);
  t.deepEqual(measured(3), [40, 80]);
  t.deepEqual(measured(5), [70, 130], 'and beyond by as much for each image as the last step');
});

/** Batches of two on one executor, 40 ms each and 10 ms between them; the second answer of each comes 3 ms after the first. */
const answers = Array.from({ length: 21 }, (_, batch) =>
  [0, 3].map((later) => ({
    latency: 100,
    ended: batch * 50 + later,
    batchSize: 2,
    queue: 0,
    compute: 40 + batch / 1e6,
  })),
).flat();

test('answers tell what lies around the batches', (t) => {
  t.is(answeringTime(answers), 3);
  t.is(answeringTime(answers.map((answer) => ({ ...answer, batchSize: 1, compute: answer.ended }))), 0);
  const rate = 41 / 1003; // between the first answer and the last
  // Each batch came 10 ms later than alone, in which 40 ms times the rate were read and answered.
  t.true(Math.abs(disturbanceOf(answers, { 2: [29, 31] }, 1) - 10 / (40 * rate)) < 1e-3);
  // As slow as two at once are in any case: of 40 ms 20 are of the batch.
  t.true(Math.abs(disturbanceOf(answers, { 2: [15] }, 2) - 5 / (40 * rate)) < 1e-3);
  t.is(disturbanceOf(answers, { 2: [50] }, 1), 0, 'a machine that got faster meanwhile gives no time back');
  t.true(Math.abs(turnaroundOf(answers, 1) - (2 / rate - 40)) < 1e-3);
});

test('of the configurations that keep the promise the cheapest is chosen, and one replica fewer breaks it', (t) => {
  const promise = { rate: 400, p99: 80 };
  const rows = search({ servers: [server], ...promise });
  t.deepEqual(
    rows.map(({ maxBatch }: { maxBatch: number }) => maxBatch),
    [1, 2, 4],
  );
  const chosen = rows.filter((row: { chosen: boolean }) => row.chosen);
  t.is(chosen.length, 1);
  const [{ replicas, maxBatch, maxPending, cores }] = chosen;
  t.is(maxBatch, 4);
  t.is(cores, 2);
  t.is(maxPending, Math.ceil((4000 / 30) * 0.08), 'what one replica answers in 80 ms');
  // 400 a second are more than three times 133.
  t.true(replicas >= 4);
  t.true(tryOut({ times: server, ...promise, replicas, maxBatch, maxPending }).shareInTime >= 0.99);
  t.true(
    tryOut({ times: server, ...promise, replicas: replicas - 1, maxBatch, maxPending }).shareInTime < 0.99,
  );
  for (const row of rows) if (row.kept) t.true(row.replicas >= replicas);
});

test('a promise that one image alone breaks is kept by no number of replicas', (t) => {
  const rows = search({ servers: [server], rate: 400, p99: 14 });
  t.true(rows.every((row: { replicas: null; chosen: boolean }) => row.replicas === null && !row.chosen));
});

test('a request alone takes what was measured, in all', (t) => {
  const around = { idle: [4], busy: [9] };
  const times = { ...server, around, answering: 3 };
  const { latencies } = simulate(times, { arrivals: [0, 100, 200] });
  t.deepEqual([...latencies], [19, 19, 19]);
});

test('npm run simulate: the choice, and 1 where there is none', (t) => {
  const path = join(folderOf(t), 'times.json');
  writeFileSync(path, JSON.stringify(file));
  const found = run('--rate', '100', '--p99', '100', '--times', path);
  t.is(found.status, 0, found.stderr);
  t.regex(found.stdout, /^-> +1 x 2 +4 +132\.\d\/s +\d/m);
  t.regex(
    found.stdout,
    /^\d+ replicas? of: gradcam serve --executors 1 --threads 2 --max-batch \d --max-pending \d+$/m,
  );
  const none = run('--rate', '100', '--p99', '5', '--times', path);
  t.is(none.status, 1, none.stderr);
  t.regex(none.stdout, /^Nothing that was tried answers 99 of 100 of 100 requests a second within 5 ms\.$/m);
});

test('npm run simulate: what is wrong with a file or an option is told, with 2', (t) => {
  const folder = folderOf(t);
  const path = join(folder, 'times.json');
  const size = ['--rate', '1', '--p99', '1', '--times', path];
  const missing = run(...size);
  t.is(missing.status, 2);
  t.regex(missing.stderr, /^Cannot read '.*times\.json'/);
  writeFileSync(path, JSON.stringify({ ...file, server: { ...server, alone: { 1: [] } } }));
  const broken = run(...size);
  t.is(broken.status, 2);
  t.regex(broken.stderr, /is no file of `measure`[\s\S]*server\.alone/);
  writeFileSync(path, JSON.stringify({ ...file, server: undefined }));
  t.regex(run(...size).stderr, /has no times of a server/);
  t.regex(run('batch', '--times', path).stderr, /has no times of batches/);
  for (const [args, told] of [
    [['--rate', '0', '--p99', '1'], /a number above 0/],
    [['--rate', '1', '--p99', '1', '--balancer', 'fair'], /'round-robin' or 'least-connections'/],
    [['batch', '--failure-rate', '1.5'], /from 0 to 1/],
    [['measure', '--file', 'model.pt', '--size', '224'], /channels, height and width/],
    [['measure'], /--url with --model, or --file/],
  ] as const) {
    const { status, stderr } = run(...args);
    t.is(status, 2, stderr);
    t.regex(stderr, told);
  }
});

test('npm run simulate -- measure: a real server, whose batches have all sizes', (t) => {
  const path = join(folderOf(t), 'times.json');
  const model = fixturePath('scripted.pt');
  const measured = run(
    ...['measure', '--file', model, '--size', '3x64x64', '--max-batch', '3', '--executors', '2'],
    ...['--threads', '1', '--seconds', '2', '--out', path],
  );
  t.is(measured.status, 0, measured.stderr);
  const { server: found } = timesSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
  t.deepEqual(Object.keys(found.alone), ['1', '2', '3']);
  t.deepEqual([found.maxBatch, found.executors, found.slowdown.length], [3, 2, 2]);
  t.true(found.full.meanBatch > 1, 'twelve connections share batches');
  t.true(found.full.meanBatch <= 3);
  const sized = run('--rate', '1', '--p99', '60000', '--times', path);
  t.is(sized.status, 0, sized.stderr);
  t.regex(sized.stdout, /^1 replica of: gradcam serve --executors 2 --threads 1 --max-batch/m);
});

testWith('Redis')('npm run simulate -- measure-batch: a real worker and a real queue', (t) => {
  const path = join(folderOf(t), 'times.json');
  writeFileSync(path, JSON.stringify(file));
  const measured = run(
    ...['measure-batch', '--file', fixturePath('scripted.pt'), '--chunk', '3', '--chunks', '4'],
    ...['--picture', rootPath('examples/photos/chelsea.png'), '--out', path],
  );
  t.is(measured.status, 0, measured.stderr);
  const { batch, server: kept } = timesSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
  t.deepEqual(kept, server, 'what was measured of a server stays');
  t.is(batch.chunks.length, 3, 'the first warms up');
  t.is(batch.chunkSize, 3);
  // A job's hash has an id, a name, options and the JSON around its paths; a path has at least its quotes and a comma.
  t.true(batch.redisChunkBytes > 200 && batch.redisChunkBytes < 5000, `${batch.redisChunkBytes}`);
  t.true(batch.redisPathBytes >= 2 && batch.redisPathBytes < 40, `${batch.redisPathBytes}`);
  const found = run('batch', '--times', path, '--images', '3000', '--workers', '1,10');
  t.is(found.status, 0, found.stderr);
  t.regex(found.stdout, /^3000 images in 1000 chunks of 3$/m);
});
