import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  contestants,
  cpuContestants,
  node,
  peers,
  predictions,
  ratioPairs,
  ratiosToFastest,
} from './contestants.mjs';
import { Side } from './side.mjs';
import { fastestByRound, fastestOf, median, pairedRatio, ratioOfMedians, spread } from './statistics.mjs';
import { largestDifference, readFloats } from './values.mjs';

/** What a difference from pytorch-grad-cam's maps, or from eager's outputs, may be before a cell counts as failed. */
const tolerance = 1e-3;

/** Milliseconds after which the threads of who was asked last are asleep: OpenMP's spin for some eight after a call. */
const rest = 25;

/** Who is faster than this many milliseconds is called again within its turn, until they are full. */
const turnMilliseconds = 100;

const others = cpuContestants.filter((name) => !contestants.includes(name));
/** Whose forwards are compared with eager's on the Python side. */
const forwards = ['torchscript', ...others];

/**
 * Every model and batch: all contestants take turns, in an order that rotates from round to round. `wanted` tells which
 * cells are to be measured, and `keep` gets each when it is finished.
 */
export async function measureTimings({ options, folder, models, python, progress, wanted, keep }) {
  for (const model of models) {
    const all = options.batches.map((batch) => ({
      isa: options.isa,
      label: model.label ?? model.name,
      model: model.name,
      layer: model.layer,
      batch,
    }));
    const cells = all.filter(wanted);
    if (cells.length < all.length)
      progress(`${all[0].label}: ${all.length - cells.length} of ${all.length} measured already`);
    if (cells.length === 0) continue;
    const finish = (cell, found) => {
      keep({ ...cell, date: new Date().toISOString(), ...found });
      progress(describeCell({ ...cell, ...found }));
    };
    const sides = { python: Side.python(options), node: Side.node(options) };
    try {
      const prepared = await prepare({ sides, model, folder, options, python });
      for (const cell of cells) {
        const found = measureCell({ sides, prepared, batch: cell.batch, folder, options, model });
        finish(cell, await found.catch(({ message }) => ({ error: message })));
      }
    } catch (error) {
      for (const cell of cells) finish(cell, { error: `It could not be prepared: ${error.message}` });
    } finally {
      for (const side of Object.values(sides)) await side.end();
    }
  }
}

/** All sides have the model. Gives what they may use of the processor, and why a prediction cannot take part. */
async function prepare({ sides, model: { name, layer, reshapeTransform }, folder, options, python }) {
  const files = await sides.python.ask('prepare', {
    name,
    layer,
    folder,
    largest_batch: Math.max(...options.batches),
    reshapeTransform,
  });
  await sides.node.ask('prepare', { ...files, layer, reshapeTransform, threads: options.threads });
  const cpuCapability = (await sides.node.ask('doctor')).cpuCapability;
  if (options.isa === 'avx2' && [cpuCapability, files.cpuCapability].some((used) => used !== 'AVX2'))
    throw new Error(`LibTorch uses ${files.cpuCapability} in Python and ${cpuCapability} in Node, not AVX2.`);
  const failures = {};
  for (const prediction of predictions) {
    if (options.isa !== 'native') failures[prediction] = 'cannot be kept from newer instructions';
    else if (!python.packages[prediction]) failures[prediction] = 'is not installed';
    else {
      try {
        const { model } = await sides.python.ask('export');
        sides[prediction] = Side.prediction(prediction, options);
        await sides[prediction].ask('prepare', { model, input: files.input });
      } catch (error) {
        failures[prediction] = error.message;
      }
    }
  }
  return { cpuCapability, failures };
}

function describeCell({ label, batch, error, medians, ratios, differing }) {
  if (error) return `${label} B=${batch} failed: ${error}`;
  const toPrediction = ratios.oursToPrediction;
  return (
    `${label} B=${batch}: ours ${(medians.ours / batch).toFixed(1)} ms/image, ` +
    `${ratios.oursToEager.toFixed(2)} of eager, ` +
    (toPrediction === null ? '' : `${toPrediction.toFixed(2)} of the fastest prediction, `) +
    `grad-cam ${ratios.gradcamToOurs.toFixed(1)}x${differing.length > 0 ? ', VALUES DIFFER' : ''}`
  );
}

async function measureCell({ sides, prepared, batch, folder, options, model }) {
  const rounds = batch > 8 ? Math.max(2, Math.ceil(options.rounds / 2)) : options.rounds;
  const times = Object.fromEntries(cpuContestants.map((name) => [name, []]));
  const failures = { ...prepared.failures };
  // They know no reshape transform: of a transformer's layer they make maps of tokens by channels, or nothing.
  if (model.reshapeTransform) for (const peer of peers) failures[peer] = 'has no reshape transform';
  if (options.peerRounds === 0) for (const peer of peers) failures[peer] = 'was not asked for';
  const ask = async (contestant, extra = {}) => {
    const kind = predictions.includes(contestant)
      ? contestant
      : node.includes(contestant)
        ? 'node'
        : 'python';
    return await sides[kind].ask('run', { contestant, batch, ...extra });
  };
  const mayFail = [...peers, ...others]; // without the rest a cell says nothing
  const attempt = async (contestant, work) => {
    if (failures[contestant]) return null;
    try {
      return await work(contestant);
    } catch (error) {
      if (!mayFail.includes(contestant)) throw error;
      failures[contestant] = error.message;
      return null;
    }
  };
  // The first of several calls in a turn finds the caches as others left them, and does not count.
  const takeTurn = async (contestant) => {
    await sleep(rest);
    const taken = [];
    do taken.push((await ask(contestant)).ms);
    while (taken.reduce((sum, ms) => sum + ms) < turnMilliseconds);
    return median(taken.length > 1 ? taken.slice(1) : taken);
  };

  const compare = { heatmaps: join(folder, 'heatmaps.bin'), outputs: join(folder, 'outputs.bin') };
  await ask('eager', { keep: compare.outputs });
  await ask('gradcam', { keep: compare.heatmaps });
  const differenceOf = async (contestant) => {
    const keep = join(folder, 'other-outputs.bin');
    await ask(contestant, { keep });
    return largestDifference(readFloats(keep), readFloats(compare.outputs), { relative: true });
  };
  const early = await ask('ours', { compare });
  // Warm-up of everyone, three times where code is compiled or weights are packed while running. A peer's first call
  // imports its package, which is not what it takes to explain.
  for (const contestant of [...forwards, ...node]) {
    for (let call = 0; call < 3; call++) await attempt(contestant, ask);
  }
  for (const peer of peers) await attempt(peer, ask);

  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < cpuContestants.length; turn++) {
      const contestant = cpuContestants[(turn + round) % cpuContestants.length];
      if (peers.includes(contestant) && round >= options.peerRounds) continue;
      const ms = await attempt(contestant, takeTurn);
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
  for (const contestant of forwards) {
    const difference = await attempt(contestant, differenceOf);
    if (difference !== null) differences[contestant] = difference;
  }
  const medians = Object.fromEntries(cpuContestants.map((name) => [name, median(times[name])]));
  return {
    cpuCapability: prepared.cpuCapability,
    times,
    failures,
    medians,
    spread: Object.fromEntries(cpuContestants.map((name) => [name, spread(times[name])])),
    fastestPrediction: fastestOf(medians, predictions),
    differences,
    differing: Object.keys(differences).filter((name) => !(differences[name] <= tolerance)),
    ratios: ratiosOf(times),
    ratiosOfMedians: Object.fromEntries(
      Object.entries(ratioPairs).map(([name, [a, b]]) => [name, ratioOfMedians(times[a], times[b])]),
    ),
  };
}

/** Medians of the rounds' own ratios: of pairs, and to the fastest of several in the same round. */
export function ratiosOf(times) {
  const ofPairs = Object.entries(ratioPairs).map(([name, [a, b]]) => [name, pairedRatio(times[a], times[b])]);
  const toFastest = Object.entries(ratiosToFastest).map(([name, [a, several]]) => [
    name,
    pairedRatio(times[a], fastestByRound(several.map((one) => times[one]))),
  ]);
  return Object.fromEntries([...ofPairs, ...toFastest]);
}
