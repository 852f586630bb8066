import { join } from 'node:path';
import { Side } from './side.mjs';
import { median, pairedRatio, ratioOfMedians, spread } from './statistics.mjs';

export const python = ['eager', 'torchscript', 'gradcam', 'torchcam', 'captum'];
export const node = ['ours', 'plain', 'forward'];
export const contestants = [...python, ...node];
export const peers = ['torchcam', 'captum'];

export const ratioPairs = {
  oursToEager: ['ours', 'eager'],
  oursToTorchScript: ['ours', 'torchscript'],
  plainToEager: ['plain', 'eager'],
  gradcamToEager: ['gradcam', 'eager'],
  gradcamToOurs: ['gradcam', 'ours'],
  torchcamToOurs: ['torchcam', 'ours'],
  captumToOurs: ['captum', 'ours'],
};

/** What a difference from pytorch-grad-cam's maps, or from eager's outputs, may be before a cell counts as failed. */
const tolerance = 1e-3;

/** Every model and batch: all contestants take turns, in an order that rotates from round to round. */
export async function measureTimings({ options, folder, models, progress, keepCells }) {
  const cells = [];
  for (const model of models) {
    const sides = { python: Side.python(options), node: Side.node(options) };
    try {
      await prepare(sides, model, folder, options);
      for (const batch of options.batches) {
        const cell = { label: model.label ?? model.name, model: model.name, layer: model.layer, batch };
        try {
          Object.assign(cell, await measureCell({ sides, batch, folder, options, model }));
        } catch (error) {
          cell.error = error.message;
        }
        cells.push(cell);
        keepCells(cells); // an hour's work is not lost with the last cell
        progress(describeCell(cell));
      }
    } catch (error) {
      cells.push({ label: model.label ?? model.name, model: model.name, batch: 0, error: error.message });
      progress(`${model.name} could not be prepared: ${error.message}`);
    } finally {
      await sides.python.end();
      await sides.node.end();
    }
  }
  return cells;
}

async function prepare(sides, { name, layer, reshapeTransform }, folder, options) {
  const largest = Math.max(...options.batches);
  const files = await sides.python.ask('prepare', {
    name,
    layer,
    folder,
    largest_batch: largest,
    reshapeTransform,
  });
  await sides.node.ask('prepare', { ...files, layer, reshapeTransform, threads: options.threads });
}

function describeCell({ label, batch, error, medians, ratios, failed }) {
  if (error) return `${label} B=${batch} failed: ${error}`;
  return (
    `${label} B=${batch}: ours ${(medians.ours / batch).toFixed(1)} ms/image, ` +
    `${ratios.oursToEager.toFixed(2)} of eager, ${ratios.gradcamToOurs.toFixed(1)}x${failed ? ', MAPS DIFFER' : ''}`
  );
}

async function measureCell({ sides, batch, folder, options, model }) {
  const rounds = batch > 8 ? Math.max(2, Math.ceil(options.rounds / 2)) : options.rounds;
  const times = Object.fromEntries(contestants.map((name) => [name, []]));
  const failures = {};
  // They know no reshape transform: of a transformer's layer they make maps of tokens by channels, or nothing.
  if (model.reshapeTransform) for (const peer of peers) failures[peer] = 'has no reshape transform';
  if (options.peerRounds === 0) for (const peer of peers) failures[peer] = 'was not asked for';
  const ask = async (contestant, extra = {}) => {
    const side = python.includes(contestant) ? sides.python : sides.node;
    return await side.ask('run', { contestant, batch, ...extra });
  };
  const attempt = async (contestant) => {
    if (failures[contestant]) return null;
    try {
      return (await ask(contestant)).ms;
    } catch (error) {
      if (!peers.includes(contestant)) throw error; // without the others a cell says nothing
      failures[contestant] = error.message;
      return null;
    }
  };

  const compare = { heatmaps: join(folder, 'heatmaps.bin'), outputs: join(folder, 'outputs.bin') };
  await ask('eager', { keep: compare.outputs });
  await ask('gradcam', { keep: compare.heatmaps });
  const early = await ask('ours', { compare });
  // Warm-up of everyone, three times where code is compiled or weights are packed while running. A peer's first call
  // imports its package, which is not what it takes to explain.
  for (const contestant of ['torchscript', 'ours', 'plain', 'forward']) {
    for (let call = 0; call < 3; call++) await ask(contestant);
  }
  for (const peer of peers) await attempt(peer);

  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < contestants.length; turn++) {
      const contestant = contestants[(turn + round) % contestants.length];
      if (peers.includes(contestant) && round >= options.peerRounds) continue;
      const ms = await attempt(contestant);
      if (ms !== null) times[contestant].push(ms);
    }
  }

  // Compared again at the end: weights are packed on the second call, and what was timed is what has to be right.
  const late = {};
  for (const contestant of node) late[contestant] = await ask(contestant, { compare });
  const differences = {
    ours: Math.max(early.difference, late.ours.difference),
    plain: late.plain.difference,
    outputs: Math.max(early.outputDifference, ...node.map((name) => late[name].outputDifference)),
  };
  const ratiosBy = (ratio) =>
    Object.fromEntries(Object.entries(ratioPairs).map(([name, [a, b]]) => [name, ratio(times[a], times[b])]));
  return {
    times,
    failures,
    medians: Object.fromEntries(contestants.map((name) => [name, median(times[name])])),
    spread: Object.fromEntries(contestants.map((name) => [name, spread(times[name])])),
    differences,
    failed: !Object.values(differences).every((difference) => difference <= tolerance),
    ratios: ratiosBy(pairedRatio),
    ratiosOfMedians: ratiosBy(ratioOfMedians),
  };
}
