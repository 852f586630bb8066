// `npm run bench:server`: the explain server under load, against the engine's own batches and the usual Python server, turn
// by turn in one run.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Command, InvalidArgumentError } from 'commander';
import { onResNet50 } from '../extras.mjs';
import { describeMachine, inspectPython, loadAverage } from '../machine.mjs';
import { startSession } from '../session.mjs';
import { median, pairedRatio } from '../statistics.mjs';
import { arrivals } from './arrivals.mjs';
import { load } from './load.mjs';
import { markdown } from './report.mjs';
import { heatmapOf, startOurs, startPython } from './servers.mjs';

const here = fileURLToPath(new URL('.', import.meta.url));

function count(text) {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) throw new InvalidArgumentError('It has to be 0, 1, 2, ...');
  return value;
}

const options = new Command('bench:server')
  .description('Measures the explain server: ResNet-50, layer4, one image a request, tensors in and out.')
  .option(
    '--python <path>',
    'Python with bench/requirements.txt',
    process.env.GRADCAM_BENCH_PYTHON ?? join(here, '..', '..', '.venv', 'bin', 'python'),
  )
  .option('--rounds <count>', 'rounds in which each side has its turn', count, 3)
  .option('--seconds <count>', 'length of each turn, about', count, 10)
  .option(
    '--concurrency <list>',
    'connections, by comma',
    (text) => text.split(',').map(count),
    [1, 8, 32, 128],
  )
  .option('--threads <count>', 'threads of each side', count, 2)
  .option(
    '--executors <count>',
    'batches that our server computes at once, each with its share of the threads',
    count,
    2,
  )
  .option('--half-load <seconds>', 'how long half the load is kept up', count, 60)
  .option('--overload <seconds>', 'how long three times the load is kept up', count, 30)
  .option('--soak <seconds>', 'how long the server is kept busy at the end', count, 600)
  .option('--out <folder>', 'where server.json and server.md go', join(here, '..', 'results'))
  .parse()
  .opts();

const { folder, progress } = startSession();

const results = { machine: describeMachine(options, inspectPython(options.python)) };
mkdirSync(options.out, { recursive: true });
const keep = (part, value) => {
  results[part] = value;
  results.machine.loadAverageAfter = loadAverage();
  writeFileSync(join(options.out, 'server.json'), `${JSON.stringify(results, null, 2)}\n`);
  writeFileSync(join(options.out, 'server.md'), markdown(results));
};

const { newSide } = await onResNet50({ options: { ...options, peakBatches: [8] }, folder, progress });
const pixels = readFileSync(join(folder, 'input-8.bin')).subarray(0, 3 * 224 * 224 * 4);
const startServer = (how = {}) =>
  startOurs({
    ...options,
    threads: Math.max(1, Math.floor(options.threads / options.executors)),
    folder,
    model: join(folder, 'resnet50.pt'),
    pixels,
    ...how,
  });
const ours = await startServer();
const python = await startPython({ ...options, pixels });
const direct = await newSide();

const [ourMap, theirMap] = [await heatmapOf(ours), await heatmapOf(python)];
const difference = ourMap.reduce(
  (most, value, index) => Math.max(most, Math.abs(value - theirMap[index])),
  0,
);
if (!(difference < 1e-3)) throw new Error(`The two servers do not give the same map: ${difference}.`);
keep('difference', difference);

const rounds = [];
for (let round = 0; round < options.rounds; round++) {
  const turn = {
    direct: (await direct.ask('direct', { batch: 8, images: 64 })).imagesPerSecond,
    ours: {},
    python: {},
  };
  for (const connections of options.concurrency) {
    const amountAt = (perSecond) => Math.max(connections * 2, Math.round(options.seconds * perSecond));
    turn.ours[connections] = await load(ours, { connections, amount: amountAt(turn.direct) });
    if (connections !== 1 && connections !== 32) continue;
    turn.python[connections] = await load(python, { connections, amount: amountAt(turn.direct / 4) });
  }
  rounds.push(turn);
  progress(
    `round ${round + 1}: direct ${turn.direct.toFixed(1)} images/s; ` +
      options.concurrency
        .map((each) => {
          const theirs = turn.python[each] ? ` (Python ${turn.python[each].perSecond.toFixed(1)})` : '';
          return `${each}: ${turn.ours[each].perSecond.toFixed(1)}${theirs}`;
        })
        .join(', '),
  );
  keep('rounds', rounds);
}
await Promise.all([direct.end(), python.end()]);

const at = (connections, field = 'perSecond') => rounds.map(({ ours: turn }) => turn[connections][field]);
const pythonAt = (connections) => rounds.map(({ python: turn }) => turn[connections].perSecond);
const capacity = median(at(32));
keep('ratios', {
  ofDirect: pairedRatio(
    at(32),
    rounds.map((turn) => turn.direct),
  ),
  ofPython: pairedRatio(at(32), pythonAt(32)),
  ofPythonAlone: pairedRatio(at(1), pythonAt(1)),
});

if (options.halfLoad > 0) {
  const half = {};
  for (const spacing of ['even', 'poisson']) {
    // Alone, right before: the machine's speed changes.
    const single = await load(ours, { connections: 1, seconds: options.seconds });
    const { latencies: _, ...found } = await arrivals(ours, {
      rate: capacity / 2,
      seconds: options.halfLoad,
      spacing,
    });
    half[spacing] = { ...found, single: single.p50, ratio: found.p99 / single.p50 };
    progress(`half load, ${spacing}: p99 ${found.p99.toFixed(0)} ms, alone ${single.p50.toFixed(0)} ms`);
  }
  keep('halfLoad', half);
}
if (options.overload > 0) keep('overload', await measureOverload());
if (options.soak > 0) keep('soak', await measureSoak());
const code = await ours.end();
keep('exitCode', code);
console.log(markdown(results));
console.error(`Written to ${options.out}`);

/** Three times the capacity, against a server that lets 32 images wait. */
async function measureOverload() {
  const server = await startServer({ maxPending: 32 });
  await load(server, { connections: 8, seconds: 3 });
  const { latencies: _, ...overload } = await arrivals(server, {
    rate: 3 * capacity,
    seconds: options.overload,
    spacing: 'poisson',
  });
  await server.end();
  progress(
    `three times the load: ${overload.perSecond.toFixed(1)} a second accepted, p99 ${overload.p99.toFixed(0)} ms; ` +
      `${overload.refused.count} refused, p99 ${overload.refused.p99?.toFixed(1)} ms`,
  );
  return { ...overload, maxPending: 32 };
}

/** Busy for long: memory from a tenth of the time on, when all is warm, and errors. */
async function measureSoak() {
  const memory = [];
  let over = false;
  const watching = (async () => {
    while (!over) {
      memory.push(ours.residentMemory);
      await sleep(Math.min(5000, options.soak * 50));
    }
  })();
  const soak = await load(ours, { connections: 32, seconds: options.soak });
  over = true;
  await watching;
  const warm = memory.slice(Math.floor(memory.length / 10));
  const half = warm.length >> 1;
  const [first, second] = [median(warm.slice(0, half)), median(warm.slice(half))];
  progress(
    `soak: ${soak.count} answers, ${soak.errors} errors, ${first.toFixed(0)} MiB, then ${second.toFixed(0)} MiB`,
  );
  return { ...soak, seconds: options.soak, firstHalf: first, secondHalf: second, most: Math.max(...memory) };
}
