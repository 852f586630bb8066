import { Agent, request as ask } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { summary } from './load.mjs';

/**
 * Requests that arrive at their own times, whether or not earlier ones were answered: what users do, and what load
 * generators with a fixed number of connections cannot (autocannon's rate is one for each connection).
 * @param spacing - 'even', or 'poisson': exponentially distributed, from a fixed seed
 */
export async function arrivals({ request }, { rate, seconds, spacing }) {
  const agent = new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY });
  const random = seeded(7);
  const times = new Map(); // status -> milliseconds
  let errors = 0;
  const underWay = [];
  const started = performance.now();
  let due = started;
  while (due < started + seconds * 1e3) {
    await sleep(Math.max(0, due - performance.now()));
    const arrived = due; // what the generator itself is late counts, too
    underWay.push(
      answerOf(agent, request).then(
        (status) => times.set(status, [...(times.get(status) ?? []), performance.now() - arrived]),
        () => errors++,
      ),
    );
    due += (1e3 / rate) * (spacing === 'even' ? 1 : -Math.log(1 - random()));
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
  };
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

/** mulberry32. */
function seeded(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
