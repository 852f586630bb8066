import { join } from 'node:path';
import { median } from './statistics.mjs';

/**
 * The methods that run the model many times, or compute much of their own, against pytorch-grad-cam's: one image,
 * ResNet-50 at layer4. Each peak is that of a process that did nothing else.
 */
export const methods = {
  eigencam: measureProjection,
  ablationcam: (run) => measureMethod('ablationcam', run),
  scorecam: (run) => measureMethod('scorecam', run),
};

async function measureMethod(method, { folder, newSide, progress }) {
  progress(`${method}: pytorch-grad-cam's takes minutes`);
  const heatmaps = join(folder, `${method}.bin`);
  const python = await newSide('python');
  const before = (await python.ask('run', { contestant: 'eager', batch: 1 })) && (await python.ask('peak'));
  const theirs = await python.ask('run', { contestant: method, batch: 1, keep: heatmaps });
  const theirPeak = await python.ask('peak');
  await python.end();
  const node = await newSide();
  const ownBefore = (await node.ask('run', { contestant: 'forward', batch: 1 })) && (await node.ask('peak'));
  const ours = await node.ask('run', { contestant: method, batch: 1, compare: { heatmaps } });
  const ourPeak = await node.ask('peak');
  await node.end();
  const result = {
    ours: ours.ms,
    gradcam: theirs.ms,
    ratio: theirs.ms / ours.ms,
    difference: ours.difference,
    // Resident memory that the method adds to that of a process that has run the plain forward.
    ourMemory: ourPeak.megabytes - ownBefore.megabytes,
    gradcamMemory: theirPeak.megabytes - before.megabytes,
    ourPeak: ourPeak.megabytes,
    gradcamPeak: theirPeak.megabytes,
  };
  progress(
    `${method}: ${(ours.ms / 1000).toFixed(1)} s, pytorch-grad-cam ${(theirs.ms / 1000).toFixed(1)} s, ` +
      `${result.ratio.toFixed(1)} times; differs by ${ours.difference.toExponential(0)}`,
  );
  return result;
}

async function measureProjection({ newSide, progress }) {
  const python = await newSide('python');
  const node = await newSide();
  const times = { ours: [], gradcam: [] };
  for (let round = 0; round < 6; round++) {
    times.gradcam.push((await python.ask('projection', { batch: 1, repeats: 1 })).ms);
    // Ours holds ReLU, scaling and resizing as well.
    times.ours.push((await node.ask('run', { contestant: 'eigencam', batch: 1 })).cam);
  }
  await Promise.all([python.end(), node.end()]);
  const ours = median(times.ours.slice(1));
  const gradcam = median(times.gradcam.slice(1));
  progress(`EigenCAM's arithmetic: ${ours.toFixed(1)} ms, pytorch-grad-cam ${gradcam.toFixed(0)} ms`);
  return { ours, gradcam, ratio: gradcam / ours };
}
