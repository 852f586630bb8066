import { Agent, request as ask } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { summary } from './load.mjs';

/**
 * Requests that arrive at their own times, whether or not earlier ones were answered: what users do, and what load
 * generators with a fixed number of connections cannot (autocannon's rate is one for each connection).
 * @param spacing - 'even', or 'poisson': exponentially distributed, from a fixed seed
 */
export async function arrivals({ request }, { rate, seconds, spacing, seed }) {
  const agent = new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY });
  const times = new Map(); // status -> milliseconds
  let errors = 0;
  const underWay = [];
  const started = performance.now();
  for (const after of arrivalTimes({ rate, seconds, spacing, seed })) {
    const arrived = started + after; // what the generator itself is late counts, too
    await sleep(Math.max(0, arrived - performance.now()));
    underWay.push(
      answerOf(agent, request).then(
        (status) => {
          const known = times.get(status);
          if (known) known.push(performance.now() - arrived);
          else times.set(status, [performance.now() - arrived]);
        },
        () => errors++,
      ),
    );
  }
  await Promise.all(underWay);
  const elapsed = performance.now() - started;
  agent.destroy();
  for (const [status, each] of times) if (status !== 200 && status !== 503) errors += each.length;
  const accepted = summary(times.get(200) ?? []);
  return {
    rate,
    spacing,
    perSecond: (accepted.count / elapsed) * 1e3,
    ...accepted,
    refused: summary(times.get(503) ?? []),
    errors,
    latencies: times.get(200) ?? [],
  };
}

/** When requests are due, in milliseconds from the first one on. */
export function* arrivalTimes({ rate, seconds, spacing, seed = 7 }) {
  const random = seeded(seed);
  for (let due = 0; due < seconds * 1e3; ) {
    yield due;
    due += (1e3 / rate) * (spacing === 'even' ? 1 : -Math.log(1 - random()));
  }
}

function answerOf(agent, { url, body, method, headers }) {
  return new Promise((resolve, reject) => {
    const sent = ask(
      url,
      { agent, method, headers: { ...headers, 'content-length': body.length } },
      (answer) => {
        answer.resume();
        answer.once('end', () => resolve(answer.statusCode));
        answer.once('error', reject);
      },
    );
    sent.once('error', reject);
    sent.end(body);
  });
}

/** mulberry32: numbers from 0 to 1, always the same ones. */
export function seeded(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
