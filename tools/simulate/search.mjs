import { arrivalTimes } from '../../bench/server/arrivals.mjs';
import { simulate, simulateFull } from './measured-server.mjs';
import { percentile } from './servers.mjs';

/** Requests that a configuration is tried with. */
const tried = 20_000;

/**
 * For each server that was measured and each size of its batches the fewest replicas that keep a promise: of 100 requests, 99
 * are answered within `p99` milliseconds. Refused and late ones are not.
 *
 * `maxPending` lets in what a replica can answer in that time, for what waits longer breaks the promise anyway.
 * @param servers - parts `server` of files of times
 * @param rate - requests a second, of all replicas together
 * @param fixed - `replicas`, `maxBatch`, `maxPending`, `maxDelayMs`, `balancer`, `deadlineMs`, `spacing`: what is not looked for
 * @returns a row for each; `replicas` is null where no number up to `mostReplicas` keeps it
 */
export function search({ servers, rate, p99, mostReplicas = 256, fixed = {} }) {
  const rows = servers.flatMap((times) =>
    batchSizes(times, fixed.maxBatch).map((maxBatch) => {
      const perSecond = simulateFull(times, { ...shared(fixed), maxBatch }).perSecond;
      const maxPending =
        fixed.maxPending ?? Math.max(times.executors * maxBatch, Math.ceil((perSecond * p99) / 1000));
      const row = { times, maxBatch, maxPending, perSecond, cores: coresOf(times) };
      const attempt = (replicas) => tryOut({ times, rate, p99, replicas, maxBatch, maxPending, fixed });
      if (fixed.replicas !== undefined) return { ...row, ...attempt(fixed.replicas) };
      const least = Math.max(1, Math.ceil(rate / perSecond));
      for (let replicas = least; replicas <= mostReplicas; replicas = next(replicas)) {
        const found = attempt(replicas);
        if (found.kept) return { ...row, ...fewest(attempt, replicas, least, found) };
        // One image alone takes too long.
        if (replicas >= 8 * least && found.shareInTime < 0.9) break;
      }
      return { ...row, replicas: null };
    }),
  );
  const kept = rows.filter(({ kept: isKept }) => isKept);
  const best = kept.sort(
    (one, other) => one.replicas * one.cores - other.replicas * other.cores || one.p99 - other.p99,
  )[0];
  return rows.map((row) => ({ ...row, chosen: row === best }));
}

/** By ones, and beyond sixteen in steps of an eighth. */
const next = (replicas) => replicas + Math.max(1, replicas >> 3);

/** Between the last step that failed and the first that did not. */
function fewest(attempt, replicas, least, found) {
  let best = found;
  for (let fewer = replicas - 1; fewer >= least && fewer > replicas - Math.max(1, replicas >> 3); fewer--) {
    const other = attempt(fewer);
    if (!other.kept) break;
    best = other;
  }
  return best;
}

/** Executors without a known number of threads count as a core each. */
const coresOf = ({ executors, threads }) => executors * (threads ?? 1);

function batchSizes({ maxBatch }, given) {
  if (given !== undefined) return [given];
  const sizes = [];
  for (let size = 1; size < maxBatch; size *= 2) sizes.push(size);
  return [...sizes, maxBatch];
}

function shared({ maxDelayMs, balancer, deadlineMs }) {
  return Object.fromEntries(
    Object.entries({ maxDelayMs, balancer, deadlineMs }).filter(([, value]) => value !== undefined),
  );
}

/** What some replicas make of a rate. */
export function tryOut({ times, rate, p99, replicas, maxBatch, maxPending, fixed = {} }) {
  const spacing = fixed.spacing ?? 'poisson';
  const arrivals = arrivalTimes({ rate, seconds: tried / rate, spacing });
  const warmUp = tried / 20;
  const found = simulate(times, { arrivals }, 0, {
    ...shared(fixed),
    replicas,
    maxBatch,
    maxPending,
    warmUp,
  });
  const inTime = found.latencies.filter((latency) => latency <= p99).length;
  const counted = found.latencies.length + ((found.refused + found.late) * (tried - warmUp)) / tried;
  const shareInTime = inTime / counted;
  return {
    replicas,
    p50: percentile(found.latencies, 0.5),
    p99: percentile(found.latencies, 0.99),
    shareInTime,
    kept: shareInTime >= 0.99,
    refused: found.refused / found.arrived,
    late: found.late / found.arrived,
    meanBatch: found.meanBatch,
    utilisation: found.utilisation,
    mostPending: found.mostPending,
  };
}
