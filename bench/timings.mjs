import { join } from 'node:path';
import { Side } from './side.mjs';
import { median, pairedRatio, spread } from './statistics.mjs';

const python = ['eager', 'torchscript', 'gradcam', 'torchcam', 'captum'];
const node = ['ours', 'plain', 'forward'];
const peers = new Set(['torchcam', 'captum']);

/** Every model and batch: all contestants take turns, in an order that rotates from round to round. */
export async function measureTimings({ options, folder, models, progress }) {
  const cells = [];
  for (const model of models) {
    const sides = { python: Side.python(options), node: Side.node(options) };
    const { label = model.name, layer, reshapeTransform } = model;
    const files = await sides.python.ask('prepare', {
      name: model.name,
      layer,
      folder,
      largest_batch: Math.max(...options.batches),
      reshapeTransform,
    });
    await sides.node.ask('prepare', { ...files, layer, reshapeTransform, threads: options.threads });
    for (const batch of options.batches) {
      const cell = {
        label,
        model: model.name,
        layer,
        batch,
        ...(await measureCell(sides, batch, folder, options)),
      };
      cells.push(cell);
      progress(
        `${label} B=${batch}: ours ${(cell.medians.ours / batch).toFixed(1)} ms/image, ${cell.ratios.oursToEager.toFixed(2)} of eager, ${cell.ratios.gradcamToOurs.toFixed(1)}x`,
      );
    }
    await sides.python.end();
    await sides.node.end();
  }
  return cells;
}

async function measureCell(sides, batch, folder, options) {
  const rounds = batch > 8 ? Math.max(2, Math.ceil(options.rounds / 2)) : options.rounds;
  const contestants = [...python, ...node];
  const times = Object.fromEntries(contestants.map((name) => [name, []]));
  const failures = {};
  const ask = async (contestant, extra = {}) => {
    const side = python.includes(contestant) ? sides.python : sides.node;
    return await side.ask('run', { contestant, batch, ...extra });
  };
  // Warm-up. The library packs weights on its second call with an image size, LibTorch profiles on its first ones.
  await ask('eager');
  await ask('gradcam', { keep: true });
  const { difference } = await ask('ours', { compare: join(folder, 'gradcam.bin') });
  const plainDifference = (await ask('plain', { compare: join(folder, 'gradcam.bin') })).difference;
  for (const contestant of ['torchscript', 'torchscript', 'ours', 'forward']) await ask(contestant);

  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < contestants.length; turn++) {
      const contestant = contestants[(turn + round) % contestants.length];
      if (failures[contestant] || (peers.has(contestant) && round >= options.peerRounds)) continue;
      try {
        times[contestant].push((await ask(contestant)).ms);
      } catch (error) {
        failures[contestant] = error.message;
      }
    }
  }
  return {
    times,
    failures,
    medians: Object.fromEntries(contestants.map((name) => [name, median(times[name])])),
    spread: Object.fromEntries(contestants.map((name) => [name, spread(times[name])])),
    differences: { ours: difference, plain: plainDifference },
    ratios: {
      oursToEager: pairedRatio(times.ours, times.eager),
      oursToTorchScript: pairedRatio(times.ours, times.torchscript),
      plainToEager: pairedRatio(times.plain, times.eager),
      gradcamToOurs: pairedRatio(times.gradcam, times.ours),
      torchcamToOurs: pairedRatio(times.torchcam, times.ours),
      captumToOurs: pairedRatio(times.captum, times.ours),
    },
  };
}
