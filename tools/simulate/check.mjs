import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { arrivals, arrivalTimes } from '../../bench/server/arrivals.mjs';
import { summary } from '../../bench/server/load.mjs';
import { startServe } from '../../bench/server/servers.mjs';
import { measureServer, requestOfOne } from './measure-server.mjs';
import { simulate, simulateFull } from './measured-server.mjs';
import { Neighbours } from './neighbours.mjs';
import { percentile } from './servers.mjs';

/** How often each load is simulated, with other draws of the measured times. */
const draws = 5;

/**
 * Runs `work` with a `gradcam serve` of one model, which ends afterwards.
 * @param path - the model's file; `layer`: else the sidecar's, or the suggested one
 */
export async function withServer({ path, layer, executors, threads, maxBatch }, work) {
  const folder = mkdtempSync(join(tmpdir(), 'gradcam-simulate-'));
  const models = { model: { path, ...(layer === undefined ? {} : { layer }) } };
  const { server, url } = await startServe({ folder, models, executors, threads, maxBatch, maxPending: 256 });
  const exited = new Promise((resolve) => server.once('exit', (...how) => resolve(how)));
  const died = exited.then(([code, signal]) => {
    throw new Error(`The server ended by itself (${signal ?? `exit code ${code}`}).`);
  });
  died.catch(() => {});
  try {
    return await Promise.race([work(url, server.pid), died]);
  } finally {
    server.kill('SIGTERM');
    await exited;
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * Measures a server, asks it at random times at some shares of what it can do, and simulates the very same arrivals with the
 * times that were measured right before. In rounds, for the machine's speed changes; latencies of all rounds are put together.
 * @param shares - of what it does at full load
 * @param pid - the server's; `quiet`: share of the cores that other programs may take, else a turn is repeated, for at most
 *   `patienceSeconds` in all
 * @returns for each share the rate, and `real` and `simulated` with `p50` and `p99`; and the last round's times
 */
export async function checkServer({
  url,
  model,
  shares,
  rounds,
  seconds,
  measureSeconds,
  pid,
  quiet,
  patienceSeconds,
  progress = () => {},
  ...how
}) {
  const request = await requestOfOne({ url, model, picture: how.picture, size: how.size });
  const rows = shares.map((share) => ({
    share,
    rates: [],
    real: [],
    simulated: [],
    refused: 0,
    errors: 0,
    others: 0,
  }));
  const full = { real: [], simulated: [] };
  const neighbours = new Neighbours([pid]);
  const calm = { most: quiet, patience: performance.now() + patienceSeconds * 1e3, progress };
  let times;
  for (let round = 0; round < rounds; round++) {
    progress(`round ${round + 1} of ${rounds}: measuring`);
    const measured = await neighbours.quietly(
      () => measureServer({ url, model, seconds: measureSeconds, ...how }),
      calm,
    );
    times = measured.result;
    full.real.push(times.full.perSecond);
    full.simulated.push(simulateFull(times).perSecond);
    for (const [index, row] of rows.entries()) {
      const rate = row.share * times.full.perSecond;
      const load = { rate, seconds, spacing: 'poisson', seed: 1 + round * rows.length + index };
      progress(`round ${round + 1} of ${rounds}: ${rate.toFixed(1)} a second`);
      const { result: found, share } = await neighbours.quietly(() => arrivals({ request }, load), calm);
      row.others = Math.max(row.others, share, measured.share);
      row.rates.push(rate);
      row.real.push(...found.latencies);
      row.refused += found.refused.count;
      row.errors += found.errors;
      for (let draw = 0; draw < draws; draw++)
        row.simulated.push(...simulate(times, { arrivals: arrivalTimes(load) }, draw).latencies);
    }
  }
  return {
    times,
    full,
    rows: rows.map(({ real, simulated, ...row }) => ({
      ...row,
      real: summary(real),
      simulated: {
        p50: percentile(
          simulated.sort((a, b) => a - b),
          0.5,
        ),
        p99: percentile(simulated, 0.99),
      },
    })),
  };
}
