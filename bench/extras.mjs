import { Side } from './side.mjs';
import { median, pairedRatio } from './statistics.mjs';

const layer = 'layer4';

/** What is measured on one model, ResNet-50 at layer4: first calls, classes, memory, many callers. */
export async function measureExtras({ options, folder, progress }) {
  const python = Side.python(options);
  const files = await python.ask('prepare', { name: 'resnet50', layer, folder, largest_batch: 32 });
  await python.end();
  const newSide = async () => {
    const side = Side.node(options);
    await side.ask('prepare', { ...files, layer, threads: options.threads });
    return side;
  };

  const extras = { firstCall: {}, peakMemory: {} };
  for (const batch of [1, 8]) {
    const firsts = [];
    const steadies = [];
    for (let process = 0; process < 3; process++) {
      const side = await newSide();
      const call = async () => (await side.ask('run', { contestant: 'ours', batch })).ms;
      firsts.push(await call());
      await call();
      const later = [];
      for (let index = 0; index < 5; index++) later.push(await call());
      steadies.push(median(later));
      await side.end();
    }
    extras.firstCall[batch] = {
      first: median(firsts),
      steady: median(steadies),
      ratio: pairedRatio(firsts, steadies),
    };
    progress(`first call, B=${batch}: ${extras.firstCall[batch].ratio.toFixed(2)} of a steady one`);
  }

  const side = await newSide();
  const classes = { 1: [], 5: [] };
  for (let round = 0; round < 10; round++) {
    for (const count of [1, 5]) {
      classes[count].push((await side.ask('run', { contestant: 'ours', batch: 1, classes: count })).ms);
    }
  }
  extras.fiveClasses = { ratio: pairedRatio(classes[5].slice(2), classes[1].slice(2)) };
  progress(`five classes: ${extras.fiveClasses.ratio.toFixed(3)} of one`);

  const throughput = [];
  await side.ask('direct', { batch: 8, images: 16 });
  for (let round = 0; round < 3; round++) {
    const direct = await side.ask('direct', { batch: 8, images: 64 });
    const concurrent = await side.ask('concurrent', { callers: 32, images: 64 });
    throughput.push({
      direct: direct.imagesPerSecond,
      concurrent: concurrent.imagesPerSecond,
      p99: concurrent.eventLoopP99,
    });
  }
  extras.callers = {
    direct: median(throughput.map(({ direct }) => direct)),
    concurrent: median(throughput.map(({ concurrent }) => concurrent)),
    ratio: median(throughput.map(({ direct, concurrent }) => concurrent / direct)),
    eventLoopP99: Math.max(...throughput.map(({ p99 }) => p99)),
  };
  progress(
    `32 callers: ${extras.callers.ratio.toFixed(2)} of direct batches, event loop p99 ${extras.callers.eventLoopP99.toFixed(1)} ms`,
  );

  extras.growth = await side.ask('growth', { first: 100, last: 2000 });
  progress(
    `memory after 100 explains ${extras.growth.first.toFixed(0)} MiB, after 2000 ${extras.growth.last.toFixed(0)} MiB`,
  );
  await side.end();

  for (const batch of [8, 32]) {
    const peaks = {};
    for (const contestant of ['forward', 'plain', 'ours']) {
      const fresh = await newSide();
      for (let index = 0; index < 4; index++) await fresh.ask('run', { contestant, batch });
      peaks[contestant] = (await fresh.ask('peak')).megabytes;
      await fresh.end();
    }
    extras.peakMemory[batch] = { ...peaks, ratio: peaks.ours / peaks.forward };
    progress(
      `peak memory, B=${batch}: forward ${peaks.forward.toFixed(0)} MiB, explain ${peaks.ours.toFixed(0)} MiB`,
    );
  }
  return extras;
}
