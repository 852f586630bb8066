import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { contestants, node, peers, python, ratioPairs } from '../contestants.mjs';
import { median, pairedRatio, ratioOfMedians, spread } from '../statistics.mjs';
import { largestDifference, readFloats } from '../values.mjs';

const fewestRounds = 3;

/** How long a cell that has begun may go on when the run's time is used up, in milliseconds. */
const overtime = 15_000;

/** One model, setting and batch: all contestants take turns. A contestant that fails is left out, and it is told why. */
export async function measureCell({ sides, model, setting, batch, options, folder, clock }) {
  const { nodeFailure } = await sides.prepare(model, setting);
  const failures = {};
  if (nodeFailure) for (const name of node) failures[name] = nodeFailure;
  if (model.reshapeTransform) for (const peer of peers) failures[peer] = 'has no reshape transform';
  const prepareAgain = async () => {
    const late = clock.left() <= 0;
    const again = late ? null : (await sides.prepare(model, setting)).nodeFailure;
    for (const name of late ? contestants : node)
      if (late || again) failures[name] ??= again ?? 'the time was used up';
  };
  const attempt = async (contestant, extra = {}) => {
    if (clock.left() < -overtime) failures[contestant] ??= 'the time was used up';
    if (failures[contestant]) return null;
    const kind = python.includes(contestant) ? 'python' : 'node';
    const read = kind === 'node' ? { read: true } : {};
    try {
      return await sides.ask(kind, 'run', { contestant, batch, ...read, ...extra });
    } catch (error) {
      failures[contestant] = error.message;
      // A process that died has lost the model, and one with an error of CUDA mostly fails from then on.
      const broken = /CUDA error|CUDA driver|CUDNN_STATUS|CUBLAS_STATUS/.test(error.message);
      if (broken) await sides.endOne(kind);
      if (broken || /ended|killed/.test(error.message)) await prepareAgain();
      return null;
    }
  };

  const files = (name) => ({
    heatmaps: join(folder, `${model.name}-${model.layer}-${batch}-${name}-heatmaps.bin`),
    outputs: join(folder, `${model.name}-${model.layer}-${batch}-${name}-outputs.bin`),
  });
  const kept = files(setting.name);
  const first = {};
  first.eager = (await attempt('eager', { keep: kept.outputs }))?.ms;
  first.gradcam = (await attempt('gradcam', { keep: kept.heatmaps }))?.ms;
  const compare = onlyExisting(kept);
  const early = await attempt('ours', { compare });
  first.ours = early?.ms;
  for (const contestant of contestants) {
    const calls = peers.includes(contestant) ? Math.min(2, options.warmups) : options.warmups;
    for (let call = Object.hasOwn(first, contestant) ? 1 : 0; call < calls; call++) {
      const ms = (await attempt(contestant))?.ms;
      first[contestant] ??= ms;
    }
  }

  const times = Object.fromEntries(contestants.map((name) => [name, []]));
  const stages = { ours: [], plain: [] };
  for (let round = 0; round < options.rounds; round++) {
    if (round >= fewestRounds && clock.left() <= 0) break;
    for (let turn = 0; turn < contestants.length; turn++) {
      const contestant = contestants[(turn + round) % contestants.length];
      if (peers.includes(contestant) && round >= options.peerRounds) continue;
      // The first call finds the device as the contestant before it left it, often one of another process.
      await attempt(contestant);
      const answer = await attempt(contestant);
      if (answer === null) continue;
      times[contestant].push(answer.ms);
      if (contestant in stages) stages[contestant].push(answer.timings);
    }
  }

  const late = {};
  for (const contestant of node) late[contestant] = await attempt(contestant, { compare });
  const ratiosBy = (ratio) =>
    Object.fromEntries(Object.entries(ratioPairs).map(([name, [a, b]]) => [name, ratio(times[a], times[b])]));
  const differences = {
    ours: most([early?.difference, late.ours?.difference]),
    plain: most([late.plain?.difference]),
    outputs: most([early, ...Object.values(late)].map((answer) => answer?.outputDifference)),
  };
  const fromFloat32 = await differencesFromFloat32({ kept, reference: files('float32').heatmaps, attempt });
  return {
    times,
    failures,
    first,
    rounds: Math.max(...Object.values(times).map(({ length }) => length)),
    medians: Object.fromEntries(contestants.map((name) => [name, median(times[name])])),
    spread: Object.fromEntries(contestants.map((name) => [name, spread(times[name])])),
    stages: { ours: medianStages(stages.ours), plain: medianStages(stages.plain) },
    differences,
    fromFloat32,
    failed: hasFailed(differences, fromFloat32, setting.tolerance),
    ratios: ratiosBy(pairedRatio),
    ratiosOfMedians: ratiosBy(ratioOfMedians),
  };
}

/** How far our maps and pytorch-grad-cam's are from those that it makes in float32. */
async function differencesFromFloat32({ kept, reference, attempt }) {
  if (!existsSync(reference)) return { ours: null, gradcam: null };
  return {
    ours: (await attempt('ours', { compare: { heatmaps: reference } }))?.difference ?? null,
    gradcam: existsSync(kept.heatmaps)
      ? largestDifference(readFloats(kept.heatmaps), readFloats(reference))
      : null,
  };
}

// pytorch-grad-cam adds up channels in the model's type: of two maps that differ, ours is right where it is nearer to
// float32's.
function hasFailed({ ours, plain, outputs }, fromFloat32, tolerance) {
  const bad = (value) => value !== null && !(value <= tolerance);
  const nearer = fromFloat32.ours !== null && fromFloat32.ours < fromFloat32.gradcam;
  return bad(outputs) || ((bad(ours) || bad(plain)) && !nearer);
}

function onlyExisting(files) {
  return Object.fromEntries(Object.entries(files).filter(([, path]) => existsSync(path)));
}

function most(values) {
  const known = values.filter((value) => value !== undefined && value !== null);
  return known.length > 0 ? Math.max(...known) : null;
}

function medianStages(answers) {
  const names = Object.keys(answers[0] ?? {});
  return Object.fromEntries(names.map((name) => [name, median(answers.map((answer) => answer[name]))]));
}
