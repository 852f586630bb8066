import { join } from 'node:path';
import { Side } from '../side.mjs';
import { median } from '../statistics.mjs';
import { endSoon } from './sides.mjs';

/** Eight callers of one image each, with and without an Explainer, against whole batches, by number of executors. */
export async function measureCallers({ sides, model, setting, options }) {
  const { nodeFailure } = await sides.prepare(model, setting);
  if (nodeFailure) return { error: nodeFailure };
  const batch = Math.max(...options.batches);
  const images = options.callerImages;
  const rows = [];
  try {
    for (const executors of [1, 2, 4]) {
      const intraOpThreads = Math.max(1, Math.floor(options.threads / executors));
      await sides.ask('node', 'threads', { executors, intraOpThreads });
      const kinds = {
        explainer: () => sides.ask('node', 'concurrent', { callers: 8, images }),
        alone: () => sides.ask('node', 'direct', { batch: 1, images: Math.ceil(images / 4), inFlight: 8 }),
        direct: () => sides.ask('node', 'direct', { batch, images, inFlight: executors }),
      };
      const row = { executors, batch };
      // The first is the warm-up: each executor has a stream, and caches, of its own.
      for (const [name, measure] of Object.entries(kinds)) {
        const speeds = [];
        for (let round = 0; round < 4; round++) speeds.push((await measure()).imagesPerSecond);
        row[name] = median(speeds.slice(1));
      }
      rows.push(row);
    }
    return { rows };
  } catch (error) {
    return { rows, error: error.message };
  } finally {
    const back = { executors: 1, intraOpThreads: options.threads };
    await sides.ask('node', 'threads', back).catch(() => {}); // told above already
  }
}

/** Device memory in MiB at the largest batch: Python's own count, our own, and what the whole device has in use. */
export async function measureMemory({ sides, model, setting, options }) {
  const batch = Math.max(...options.batches);
  const result = { batch, python: {}, node: {} };
  const calls = 3;
  try {
    await sides.prepare(model, setting);
    const device = (reset = false) => sides.ask('python', 'device_memory', { reset });
    for (const contestant of ['eager', 'gradcam']) {
      await device(true);
      for (let call = 0; call < calls; call++) await sides.ask('python', 'run', { contestant, batch });
      result.python[contestant] = await device();
    }
    const before = (await device(true)).used;
    const own = Side.node(options);
    try {
      await own.ask('prepare', sides.nodePreparation(model, setting), 60_000);
      for (const contestant of ['load', 'forward', 'ours']) {
        for (let call = 0; call < calls && contestant !== 'load'; call++)
          await own.ask('run', { contestant, batch, read: true }, 60_000);
        const { used } = await device();
        result.node[contestant] = {
          ...(await own.ask('memory')),
          onDevice: used === null ? null : used - before,
        };
      }
    } finally {
      await endSoon(own);
    }
  } catch (error) {
    result.error = error.message;
  }
  return result;
}

/** The methods that compute much of their own or run the model many times: one image. */
export async function measureMethod(method, { sides, model, setting, options, folder }) {
  const { nodeFailure } = await sides.prepare(model, setting);
  if (nodeFailure) return { error: nodeFailure };
  const limit = options.methodSeconds * 1000;
  const heatmaps = join(folder, `${method}.bin`);
  const result = { ours: [], gradcam: [] };
  try {
    for (let call = 0; call < 2; call++) {
      const { ms } = await sides.ask(
        'python',
        'run',
        { contestant: method, batch: 1, keep: heatmaps },
        limit,
      );
      result.gradcam.push(ms);
      if (ms > limit / 4) break; // once has to do
    }
  } catch (error) {
    result.gradcamFailure = error.message;
  }
  try {
    for (let call = 0; call < 3; call++) {
      const compare = result.gradcam.length > 0 ? { heatmaps } : undefined;
      const command = { contestant: method, batch: 1, read: true, compare };
      const { ms, difference, timings } = await sides.ask('node', 'run', command, limit);
      result.ours.push(ms);
      Object.assign(result, { difference, timings });
      if (ms > limit / 4) break;
    }
  } catch (error) {
    result.failure = error.message;
  }
  // The last call, not the first, which prepares much.
  result.ratio = (result.gradcam.at(-1) ?? Number.NaN) / (result.ours.at(-1) ?? Number.NaN);
  return result;
}

/** Where the time of ours goes, beside the time that the device itself needs. */
export async function measureProfile({ sides, model, setting, batch, options }) {
  const { nodeFailure } = await sides.prepare(model, setting);
  const result = { batch, setting: setting.name };
  const repeats = options.profileRepeats;
  try {
    if (nodeFailure) throw new Error(nodeFailure);
    for (let call = 0; call < options.warmups; call++)
      await sides.ask('node', 'run', { contestant: 'ours', batch, read: true });
    result.ours = await sides.ask('node', 'profile', { batch, repeats });
  } catch (error) {
    result.failure = error.message;
  }
  try {
    result.python = await sides.ask('python', 'kernels', { batch, repeats }, 60_000);
  } catch (error) {
    result.pythonFailure = error.message;
  }
  return result;
}
