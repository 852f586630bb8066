import { measureGrowth, measurePeakMemory } from './memory.mjs';
import { Side } from './side.mjs';
import { median, pairedRatio } from './statistics.mjs';

const name = 'resnet50';
const layer = 'layer4';

/** What is measured on one model, ResNet-50 at layer4: first calls, classes, memory, many callers. */
export const extras = {
  firstCall: measureFirstCalls,
  fiveClasses: measureClasses,
  callers: measureCallers,
  growth: measureGrowth,
  peakMemory: measurePeakMemory,
};

/** What measures on ResNet-50 needs: the model in a folder, and fresh processes that have loaded it. */
export async function onResNet50({ options, folder, progress }) {
  const request = { name, layer, folder, largest_batch: Math.max(8, ...options.peakBatches) };
  const python = Side.python(options);
  const files = await python.ask('prepare', request);
  await python.end();
  const newSide = async (kind = 'node') => {
    const side = Side[kind](options);
    const command = kind === 'node' ? { ...files, layer, threads: options.threads } : request;
    return Object.assign(side, { prepared: await side.ask('prepare', command) });
  };
  return { options, folder, newSide, progress };
}

/** In fresh processes, with and without `model.warmUp` before. */
async function measureFirstCalls(run) {
  const firstCall = {};
  for (const batch of [1, 8]) {
    firstCall[batch] = await measureFirstCall(run, { batch, warmUp: false });
    const warmedUp = await measureFirstCall(run, { batch, warmUp: true });
    if (warmedUp) firstCall[batch].warmedUp = warmedUp;
  }
  return firstCall;
}

async function measureFirstCall({ newSide, progress }, { batch, warmUp }) {
  const times = { warmUp: [], first: [], steady: [] };
  for (let process = 0; process < 3; process++) {
    const side = await newSide();
    const call = async () => (await side.ask('run', { contestant: 'ours', batch })).ms;
    if (warmUp && !side.prepared.warmUp) {
      await side.end();
      return null;
    }
    if (warmUp) times.warmUp.push((await side.ask('warmUp', { batch })).ms);
    times.first.push(await call());
    await call(); // weights are packed on the second call
    const later = [];
    for (let index = 0; index < 5; index++) later.push(await call());
    times.steady.push(median(later));
    await side.end();
  }
  const ratio = pairedRatio(times.first, times.steady);
  progress(`first call, B=${batch}${warmUp ? ', warmed up' : ''}: ${ratio.toFixed(2)} of a steady one`);
  return { first: median(times.first), steady: median(times.steady), warmUp: median(times.warmUp), ratio };
}

async function measureClasses({ newSide, progress }) {
  const side = await newSide();
  const times = { 1: [], 5: [] };
  for (let round = 0; round < 12; round++) {
    for (const count of round % 2 === 0 ? [1, 5] : [5, 1]) {
      times[count].push((await side.ask('run', { contestant: 'ours', batch: 1, classes: count })).ms);
    }
  }
  await side.end();
  const ratio = pairedRatio(times[5].slice(2), times[1].slice(2));
  progress(`five classes: ${ratio.toFixed(3)} of one`);
  return { ratio };
}

async function measureCallers({ newSide, progress }) {
  const side = await newSide();
  if (!side.prepared.explainer) {
    await side.end();
    progress('32 callers: not available, there is no Explainer');
    return null;
  }
  const rounds = [];
  const idle = await side.ask('idle');
  await side.ask('direct', { batch: 8, images: 16 });
  await side.ask('concurrent', { callers: 32, images: 32 });
  for (let round = 0; round < 3; round++) {
    const direct = await side.ask('direct', { batch: 8, images: 64 });
    const concurrent = await side.ask('concurrent', { callers: 32, images: 64 });
    rounds.push({
      direct: direct.imagesPerSecond,
      concurrent: concurrent.imagesPerSecond,
      p99: concurrent.eventLoopP99,
    });
  }
  await side.end();
  const callers = {
    direct: median(rounds.map(({ direct }) => direct)),
    concurrent: median(rounds.map(({ concurrent }) => concurrent)),
    ratio: median(rounds.map(({ direct, concurrent }) => concurrent / direct)),
    eventLoopP99: Math.max(...rounds.map(({ p99 }) => p99)),
    idleEventLoopP99: idle.eventLoopP99,
  };
  progress(
    `32 callers: ${callers.ratio.toFixed(2)} of direct batches, ` +
      `event loop p99 ${callers.eventLoopP99.toFixed(1)} ms (idle ${callers.idleEventLoopP99.toFixed(1)} ms)`,
  );
  return callers;
}
