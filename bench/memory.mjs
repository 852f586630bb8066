import { Side } from './side.mjs';

const contestants = { node: ['forward', 'plain', 'ours'], python: ['eager', 'gradcam'] };

/** Peak resident memory of explains and of plain forwards at the same batch, each in a fresh process. */
export async function measurePeakMemory({ options, newSide, progress }) {
  const peakMemory = {};
  for (const batch of options.peakBatches) {
    const peaks = {};
    for (const kind of Object.keys(contestants)) {
      for (const contestant of contestants[kind]) {
        const side = await newSide(kind);
        for (let call = 0; call < 4; call++) await side.ask('run', { contestant, batch });
        peaks[contestant] = (await side.ask('peak')).megabytes;
        await side.end();
      }
    }
    peakMemory[batch] = {
      ...peaks,
      ratio: peaks.ours / peaks.forward,
      pythonRatio: peaks.gradcam / peaks.eager,
    };
    progress(
      `peak memory, B=${batch}: forward ${peaks.forward.toFixed(0)} MiB, explain ${peaks.ours.toFixed(0)} MiB; ` +
        `eager ${peaks.eager.toFixed(0)} MiB, pytorch-grad-cam ${peaks.gradcam.toFixed(0)} MiB`,
    );
  }
  return peakMemory;
}

/**
 * Resident memory after the first hundred explains and after the last, of batches that vary. In a process of its own:
 * in one that had explained larger images before, what leaks would first fill the memory those left.
 */
export async function measureGrowth({ options, folder, progress }) {
  const name = 'mobilenet_v3_large';
  const layer = 'features';
  const python = Side.python(options);
  const files = await python.ask('prepare', { name, layer, folder, largest_batch: 2 });
  await python.end();
  const side = Side.node(options);
  await side.ask('prepare', { ...files, layer, threads: options.threads });
  const explains = {
    first: Math.min(100, Math.ceil(options.growthExplains / 20)),
    last: options.growthExplains,
  };
  const growth = { ...(await side.ask('growth', explains)), explains, model: name };
  await side.end();
  progress(
    `memory after ${explains.first} explains ${growth.first.toFixed(0)} MiB, ` +
      `after ${explains.last} ${growth.last.toFixed(0)} MiB`,
  );
  return growth;
}
