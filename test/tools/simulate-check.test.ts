import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { fixturePath, rootUrl } from '../helpers/root.js';

// `npm run simulate -- check`: a real server beside the simulated one. How near they are is for a quiet machine to tell.

const { checkServer, withServer } = await import(rootUrl('tools/simulate/check.mjs'));
const { Neighbours } = await import(rootUrl('tools/simulate/neighbours.mjs'));
const { checkReport } = await import(rootUrl('tools/simulate/tables.mjs'));
const { arrivalTimes } = await import(rootUrl('bench/server/arrivals.mjs'));

const quietly = { quiet: 1, patienceSeconds: 0 };

test.serial('a real server and the simulated one get the same requests', async (t) => {
  const how = { path: fixturePath('scripted.pt'), executors: 1, threads: 1, maxBatch: 2 };
  const { rows, full, times } = await withServer(how, (url: string, pid: number) =>
    checkServer({
      ...how,
      ...quietly,
      url,
      pid,
      model: 'model',
      size: [3, 64, 64],
      shares: [0.3, 0.6],
      rounds: 2,
      seconds: 1,
      measureSeconds: 1,
    }),
  );
  t.deepEqual(Object.keys(times.alone), ['1', '2']);
  t.is(full.real.length, 2);
  for (const [index, { share, rates, real, simulated, refused, errors, others }] of rows.entries()) {
    t.is(rates.length, 2);
    const due = rates.flatMap((rate: number, round: number) => [
      ...arrivalTimes({ rate, seconds: 1, spacing: 'poisson', seed: 1 + round * 2 + index }),
    ]);
    t.is(real.count + refused + errors, due.length);
    t.is(errors, 0);
    t.true(simulated.p50 > 0 && simulated.p99 >= simulated.p50);
    t.true(others >= 0 && others <= 1);
    for (const [round, rate] of rates.entries()) t.is(rate, share * full.real[round]);
  }
});

test.serial('a server that ends by itself ends the check', async (t) => {
  const how = { path: fixturePath('scripted.pt'), executors: 1, threads: 1, maxBatch: 1 };
  const kill = (_url: string, pid: number) => {
    process.kill(pid, 'SIGKILL');
    return new Promise(() => {}); // As a check that waits for an answer.
  };
  await t.throwsAsync(withServer(how, kill), { message: 'The server ended by itself (SIGKILL).' });
});

test('the table marks what is too far away', (t) => {
  const row = { share: 0.3, rates: [10, 20], refused: 0, errors: 0, others: 0.02 };
  const report = checkReport(
    {
      rows: [{ ...row, real: { count: 300, p50: 50, p99: 200 }, simulated: { p50: 59, p99: 250 } }],
      full: { real: [40], simulated: [41] },
    },
    0.2,
  );
  t.regex(report, /^30 % +15\.0 +300 +50\.0 +59\.0 +\+18 % +200 +250 +\+25 % ! +0 +0 +2 %$/m);
  t.regex(report, /^At full load, in each round: 40\.0 \(simulated 41\.0\) images a second\.$/m);
});

const onLinux = process.platform === 'linux' ? test.serial : test.serial.skip;

onLinux('what another program takes counts, unless it is the server', async (t) => {
  const busy = spawn(process.execPath, ['-e', 'console.log(); for (;;);'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(busy, 'exit');
  try {
    await once(busy.stdout, 'data');
    const stranger = new Neighbours([]);
    const server = new Neighbours([busy.pid]);
    const { result, share } = await stranger.during(() => server.during(() => sleep(1000, 'done')));
    t.is(result.result, 'done');
    t.true(share > result.share, `${share}, ${result.share}`);
  } finally {
    busy.kill('SIGKILL');
    await ended;
  }
});

test.serial('a turn that others disturbed is repeated, until patience is over', async (t) => {
  const shares = [0, 0.5, 0, 0.04];
  const told: string[] = [];
  let turns = 0;
  class Scripted extends Neighbours {
    constructor() {
      super([]);
    }
    async during(work: () => Promise<unknown>) {
      const share = shares.shift();
      return { result: share === 0 ? null : await work(), share };
    }
  }
  const work = async () => ++turns;
  const calm = { most: 0.05, progress: (text: string) => told.push(text) };
  const patient = await new Scripted().quietly(work, { ...calm, patience: Number.POSITIVE_INFINITY });
  t.deepEqual(patient, { result: 2, share: 0.04 });
  t.deepEqual(told, ['once more: other programs took 50 % of the cores']);
  shares.push(0.9);
  t.deepEqual(await new Scripted().quietly(work, { ...calm, patience: 0 }), { result: 3, share: 0.9 });
});
