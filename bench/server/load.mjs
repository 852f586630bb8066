import autocannon from 'autocannon';

/**
 * Asks a server from many connections at once, each of which asks again when it has its answer, and takes the time of every
 * answer by its status.
 */
export async function load({ request }, { connections, amount, seconds }) {
  const times = new Map(); // status -> milliseconds
  let lost = 0;
  const started = performance.now();
  const run = autocannon({
    ...request,
    connections,
    timeout: 120,
    // A number of requests where throughput is compared: after a time, what is under way would not be counted.
    ...(amount === undefined ? { duration: seconds } : { amount }),
  });
  run.on('response', (_client, status, _bytes, milliseconds) => {
    const known = times.get(status);
    if (known) known.push(milliseconds);
    else times.set(status, [milliseconds]);
  });
  run.on('reqError', () => lost++);
  await run;
  const elapsed = performance.now() - started;
  const accepted = summary(times.get(200) ?? []);
  const refused = summary(times.get(503) ?? []);
  const others = [...times].filter(([status]) => status !== 200 && status !== 503);
  return {
    connections,
    perSecond: (accepted.count / elapsed) * 1e3,
    ...accepted,
    refused,
    errors: lost + others.reduce((sum, [, each]) => sum + each.length, 0),
  };
}

/** How many, and their percentiles. */
export function summary(times) {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? null;
  return { count: sorted.length, p50: at(0.5), p99: at(0.99), longest: sorted.at(-1) ?? null };
}
