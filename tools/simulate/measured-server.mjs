import { seeded } from '../../bench/server/arrivals.mjs';
import { MeasuredTimes } from './measured-times.mjs';
import { simulateServers } from './servers.mjs';

/** Of measured times the simulation of one server, with a load of `simulateServers`. */
export function simulate(times, load, seed = 0, given = {}) {
  const { executors, maxBatch, decodeThreads } = times;
  const random = seeded(seed + 1);
  return simulateServers({
    load,
    times: () => new MeasuredTimes(times, random),
    executors,
    maxBatch,
    decodeThreads,
    ...given,
  });
}

/** Every batch full: what one server can do. */
export function simulateFull(times, given = {}) {
  const { maxBatch = times.maxBatch } = given;
  const connections = 2 * maxBatch * times.executors;
  const load = { connections, requests: 200 * connections };
  return simulate(times, load, 0, { ...given, warmUp: 20 * connections, maxPending: connections });
}
