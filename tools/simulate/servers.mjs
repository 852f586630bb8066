import { Clock } from './clock.mjs';
import { Replica } from './replica.mjs';

/** As the server has them where nothing is said, and is sent tensors. */
export const serverDefaults = {
  executors: 1,
  maxBatch: 8,
  maxDelayMs: 0,
  maxPending: 256,
  deadlineMs: 60_000,
  decodeThreads: 0,
};

/** Milliseconds until a connection that was refused asks again. */
const afterRefusal = 1;

/**
 * Replicas behind a balancer.
 * @param load - `{ arrivals }`: milliseconds in their order, or `{ connections, requests }`: each asks again when it has
 *   its answer, until so many were sent in all
 * @param replicas - how many; default 1
 * @param balancer - 'round-robin' (default) or 'least-connections'
 * @param times - what things take: a function that makes them for a replica
 * @param warmUp - requests at the beginning that are not among the latencies, as the queue is still empty
 * @returns counts of all requests, the latencies of those that were answered and counted (sorted), and of the same the waits
 *   from arrival to the start of the batch
 */
export function simulateServers({
  load,
  replicas = 1,
  balancer = 'round-robin',
  times,
  warmUp = 0,
  ...given
}) {
  const settings = { ...serverDefaults, ...given };
  const clock = new Clock();
  const servers = Array.from({ length: replicas }, () => new Replica(clock, times(), settings));
  const counts = { arrived: 0, answered: 0, refused: 0, late: 0 };
  const latencies = [];
  const waits = [];
  let turn = 0;
  let countedSince = 0;

  const choose = () => {
    const from = turn++ % replicas;
    if (balancer === 'round-robin') return servers[from];
    let best = servers[from];
    for (let step = 1; step < replicas; step++) {
      const other = servers[(from + step) % replicas];
      if (other.pending < best.pending) best = other;
    }
    return best;
  };

  const send = (then) => {
    const number = counts.arrived++;
    if (number === warmUp) countedSince = clock.now;
    const arrived = clock.now;
    const request = {
      arrived,
      deadline: arrived + settings.deadlineMs,
      answer(outcome) {
        counts[outcome]++;
        if (outcome === 'answered' && number >= warmUp) {
          latencies.push(clock.now - arrived);
          waits.push(request.startedAt - arrived);
        }
        then?.(outcome);
      },
    };
    choose().arrive(request);
  };

  if (load.arrivals) {
    const arrivals = load.arrivals[Symbol.iterator]();
    const next = () => {
      const { value, done } = arrivals.next();
      if (done) return;
      clock.at(value, () => {
        next();
        send();
      });
    };
    next();
  } else {
    const ask = () => {
      if (counts.arrived >= load.requests) return;
      send((outcome) => clock.after(outcome === 'refused' ? afterRefusal : 0, ask));
    };
    for (let connection = 0; connection < load.connections; connection++) clock.at(0, ask);
  }
  clock.run();

  const sum = (field) => servers.reduce((total, server) => total + server[field], 0);
  return {
    ...counts,
    latencies: Float64Array.from(latencies).sort(),
    waits,
    elapsed: clock.now,
    perSecond: (latencies.length / (clock.now - countedSince)) * 1000,
    meanBatch: sum('images') / sum('batches'),
    /** Of the executors' time, from 0 to 1. */
    utilisation: sum('busy') / (clock.now * replicas * settings.executors),
    mostPending: Math.max(...servers.map(({ mostPending }) => mostPending)),
  };
}

/** Of sorted values; as the benchmark's `summary()`. */
export function percentile(sorted, share) {
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? null;
}
