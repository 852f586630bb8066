import { Agent, request as send } from 'node:http';
import os from 'node:os';
import { seeded } from '../../bench/server/arrivals.mjs';
import { summary } from '../../bench/server/load.mjs';
import { inferRequest } from '../../bench/server/servers.mjs';
import { median } from '../../bench/statistics.mjs';

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** How often each size of a batch is run before it counts: weights are packed for it, and kernels compiled. */
const warmingRuns = 3;

/**
 * Measures what the simulation needs of a server that is there and idle. It asks for heatmaps in the Open Inference Protocol,
 * whose answers tell the size of their batch, its time and their wait. It takes about `seconds`.
 * @param picture - bytes of a picture to send; else tensors are sent
 * @param size - `[channels, height, width]` of the model's input; needed where the server does not know it
 * @param executors, threads, decodeThreads - as the server was started: it does not tell
 * @returns the part `server` of a file of times
 */
export async function measureServer({
  url,
  model,
  picture,
  size,
  executors = 1,
  threads = null,
  decodeThreads = 2,
  maxBatch = 8,
  seconds = 40,
  progress = () => {},
}) {
  const shape = await inputSize({ url, model, size });
  const agent = new Agent({ keepAlive: true });
  const one = await requestOfOne({ url, model, picture, size });
  const batchOf = (images) => requestOf({ url, model, shape, images });
  try {
    const sizes = await sizesOf(agent, batchOf, maxBatch);
    progress(`batches of 1 to ${sizes.at(-1)}, one at a time`);
    const alone = await measureAlone(agent, sizes.map(batchOf), seconds * 0.4);
    const closed = async (connections, share) => {
      progress(`${connections} connection${connections === 1 ? '' : 's'}`);
      return await askInTurn(agent, one, { connections, seconds: seconds * share });
    };
    const single = await closed(1, 0.12);
    const slowdown = [1];
    for (let together = 2; together <= executors; together++) {
      const answers = await closed(together, 0.15 / (executors - 1));
      slowdown.push(Math.max(1, mean(computeTimes(answers, 1)) / mean(computeTimes(single, 1))));
    }
    const busy = await closed(2 * executors, 0.18);
    const full = await closed(2 * sizes.at(-1) * executors, 0.3);
    return {
      executors,
      threads,
      maxBatch: sizes.at(-1),
      decodeThreads: picture ? decodeThreads : 0,
      alone,
      slowdown,
      around: { idle: single.map(aroundOf), busy: busy.map(aroundOf) },
      answering: answeringTime(full),
      disturbance: disturbanceOf(full, alone, slowdown.at(-1)),
      turnaround: turnaroundOf(busy, executors),
      full: describeFull(full, 2 * sizes.at(-1) * executors),
    };
  } finally {
    agent.destroy();
  }
}

export function describeMachine() {
  return {
    processor: os.cpus()[0]?.model ?? 'unknown',
    cores: os.availableParallelism(),
    loadAverage: Number(os.loadavg()[0].toFixed(2)),
  };
}

async function inputSize({ url, model, size }) {
  const response = await fetch(`${url}/v2/models/${model}`);
  const body = await response.json();
  if (!response.ok) throw new Error(`${url}: ${body.error}`);
  const shape = size ?? body.inputs[0].shape.slice(1);
  if (shape.length === 3 && shape.every((length) => length > 0)) return shape;
  throw new Error(`The server does not know the input of ${model}. Give it: --size 3x224x224.`);
}

/** The request that is measured: a picture, or a tensor of one image. */
export async function requestOfOne({ url, model, picture, size }) {
  return requestOf({ url, model, picture, shape: await inputSize({ url, model, size }) });
}

function requestOf({ url, model, shape, picture, images = 1 }) {
  if (picture) {
    const length = Buffer.alloc(4);
    length.writeUInt32LE(picture.length);
    const bytes = Buffer.concat([length, picture]);
    return inferRequest({ url, model, shape: [1], bytes, datatype: 'BYTES' });
  }
  const random = seeded(1);
  const values = Float32Array.from({ length: images * shape.reduce((a, b) => a * b) }, () => random() - 0.5);
  return inferRequest({ url, model, shape: [images, ...shape], bytes: Buffer.from(values.buffer) });
}

/** One request, and what its answer tells. */
function ask(agent, { url, body, method, headers }) {
  const asked = performance.now();
  return new Promise((resolve, reject) => {
    const sent = send(
      url,
      { agent, method, headers: { ...headers, 'content-length': body.length } },
      (answer) => {
        const parts = [];
        answer.on('data', (part) => parts.push(part));
        answer.once('error', reject);
        answer.once('end', () => {
          const ended = performance.now();
          const content = Buffer.concat(parts);
          if (answer.statusCode !== 200) {
            reject(new Error(`${url}: ${answer.statusCode} ${content.subarray(0, 500)}`));
            return;
          }
          const length = Number(answer.headers['inference-header-content-length']);
          const { parameters } = JSON.parse(content.subarray(0, length).toString());
          const { batch_size: batchSize, queue_ms: queue, compute_ms: compute } = parameters;
          resolve({ latency: ended - asked, ended, batchSize, queue, compute });
        });
      },
    );
    sent.once('error', reject);
    sent.end(body);
  });
}

/** As many connections, each of which asks again when it has its answer. */
async function askInTurn(agent, request, { connections, seconds }) {
  const answers = [];
  const until = performance.now() + seconds * 1e3;
  const connection = async () => {
    do answers.push(await ask(agent, request));
    while (performance.now() < until);
  };
  await Promise.all(Array.from({ length: connections }, connection));
  return answers;
}

/** Warms every size up, and finds the largest: the server computes no more together than its `maxBatch`. */
async function sizesOf(agent, batchOf, most) {
  const sizes = [];
  for (let images = 1; images <= most; images++) {
    const { batchSize } = await ask(agent, batchOf(images));
    if (batchSize < images) break;
    for (let run = 1; run < warmingRuns; run++) await ask(agent, batchOf(images));
    sizes.push(images);
  }
  return sizes;
}

/** All sizes in turn and in an order that changes, as in traffic: caches are those that another size has left. */
async function measureAlone(agent, requests, seconds) {
  const times = requests.map(() => []);
  const random = seeded(2);
  const until = performance.now() + seconds * 1e3;
  do {
    const order = requests.map((_, index) => [random(), index]).sort(([a], [b]) => a - b);
    for (const [, index] of order) times[index].push((await ask(agent, requests[index])).compute);
  } while (performance.now() < until || times[0].length < 5);
  return Object.fromEntries(times.map((each, index) => [index + 1, each]));
}

const aroundOf = ({ latency, queue, compute }) => Math.max(0, latency - queue - compute);

/** The batches of answers: those of one have its time, to the last digit. */
function batchesOf(answers) {
  const batches = new Map();
  for (const answer of answers) {
    const key = `${answer.batchSize} ${answer.compute}`;
    const known = batches.get(key);
    if (known) known.push(answer);
    else batches.set(key, [answer]);
  }
  return [...batches.values()];
}

function computeTimes(answers, size) {
  const times = answers.filter(({ batchSize }) => batchSize === size).map(({ compute }) => compute);
  if (times.length === 0) throw new Error('The server is not idle: other requests share the batches.');
  return times;
}

/** From one answer of a batch to its next, which the main thread gives one after the other. */
export function answeringTime(answers) {
  const gaps = batchesOf(answers)
    .filter((batch) => batch.length > 1)
    .map((batch) => {
      const ended = batch.map((each) => each.ended);
      return (Math.max(...ended) - Math.min(...ended)) / (batch.length - 1);
    });
  return median(gaps) ?? 0;
}

/**
 * What each request that is read and answered takes from a batch, in the time of a batch alone: the batches of full load
 * against those alone, by the requests that came in their time.
 */
export function disturbanceOf(answers, alone, slowdown) {
  const perMillisecond = rateOf(answers);
  let longer = 0;
  let handled = 0;
  for (const [{ batchSize, compute }] of batchesOf(answers)) {
    if (!alone[batchSize]) continue;
    longer += compute / slowdown - mean(alone[batchSize]);
    handled += compute * perMillisecond;
  }
  return handled > 0 ? Math.max(0, longer / handled) : 0;
}

/** What an executor waits between two batches, with another one ready. */
export function turnaroundOf(answers, executors) {
  const batches = batchesOf(answers);
  const perMillisecond = (rateOf(answers) * batches.length) / answers.length;
  return Math.max(0, executors / perMillisecond - mean(batches.map(([{ compute }]) => compute)));
}

/** Answers in a millisecond. */
function rateOf(answers) {
  const ended = answers.map((each) => each.ended).sort((a, b) => a - b);
  return (ended.length - 1) / (ended.at(-1) - ended[0]);
}

function describeFull(answers, connections) {
  const { p50, p99 } = summary(answers.map(({ latency }) => latency));
  const batches = batchesOf(answers);
  return {
    connections,
    perSecond: rateOf(answers) * 1e3,
    p50,
    p99,
    meanBatch: answers.length / batches.length,
  };
}
