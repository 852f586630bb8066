// npm run fuzz:models: random networks, explained and compared with plain autograd in double precision.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { commandOf, parseWhole } from '../command.mjs';
import { Explaining, Generator } from './processes.mjs';
import { storedNetworks, storeNetworks } from './store.mjs';

const { cases, seed, first, python, small, exported, store, verbose, keep, drop } = commandOf(
  'fuzz:models',
  `Writes random networks, as TorchScript or as exported programs, explains each in every way and compares maps, scores and outputs with plain \
autograd of the same network in double precision. What is wrong is made smaller and printed.`,
)
  .option('--cases <count>', "how many networks; a night's run: 3000", parseWhole, 300)
  .option('--seed <number>', 'which sequence of networks', parseWhole, 1)
  .option('--first <number>', 'start at this network of the sequence', parseWhole, 0)
  .option('--python <program>', 'a Python with torch', process.env.GRADCAM_PYTHON ?? 'python3')
  .option('--small', 'networks of few statements')
  .option('--exported', 'as exported programs (.pt2) instead of TorchScript, those that export')
  .option('--keep <folder>', 'write the networks there, and leave them')
  .option('--store <folder>', 'write the networks that are right as test fixtures')
  .option('--drop <positions>', 'leave out these statements, as 2,5')
  .option('--verbose', 'a line for every network')
  .addHelpText('after', '\nExit code 0: nothing is wrong. 1: something is. 2: wrong options.')
  .parse()
  .opts();

const folder = keep ?? mkdtempSync(join(tmpdir(), 'gradcam-fuzz-models-'));
const generator = new Generator(python, folder);
const explaining = new Explaining();
const counts = new Map();
const count = (what, more = 1) => counts.set(what, (counts.get(what) ?? 0) + more);
const again = (number, left = '') =>
  `npm run fuzz:models -- --seed ${seed} --first ${number} --cases 1${small ? ' --small' : ''}${exported ? ' --exported' : ''}${left}`;
const check = (network, graphs = false) =>
  explaining.check({ network, path: join(folder, network.file ?? ''), graphs });

/** The network with fewer statements that is wrong in the same way. */
async function shrunk(network, kind) {
  let smallest = network;
  for (let removed = true; removed; ) {
    removed = false;
    for (const position of smallest.kept.toReversed()) {
      const kept = smallest.kept.filter((each) => each !== position);
      const smaller = await generator.make({ seed, number: network.number, small, exported, kept });
      if (smaller.none) continue;
      const { verdict } = await check(smaller);
      if (!verdict.faults.some((fault) => fault.kind === kind)) continue;
      smallest = smaller;
      removed = true;
    }
  }
  return smallest;
}

async function report(network, faults) {
  console.log(`\nnetwork ${network.number}: ${faults[0].text}`);
  const { kind } = faults[0];
  const shrunken = await shrunk(network, kind);
  // The file on disk is that of the last try.
  const smallest = await generator.make({
    seed,
    number: network.number,
    small,
    exported,
    kept: shrunken.kept,
  });
  const { verdict, graphs } = await check(smallest, true);
  for (const { text } of verdict.faults.slice(0, verbose ? 100 : 6)) console.log(`  ${text}`);
  console.log(
    `  layer ${smallest.layer}, input [${smallest.shape}], ${exported ? 'exported' : smallest.traced ? 'traced' : 'scripted'}`,
  );
  console.log(smallest.source.slice(smallest.source.indexOf('class Net')));
  if (verbose) console.log(graphs);
  const every = (await generator.make({ seed, number: network.number, small, exported })).kept;
  const dropped = every.filter((position) => !smallest.kept.includes(position));
  console.log(`  again with: ${again(network.number)}`);
  if (dropped.length > 0) console.log(`  smaller: ${again(network.number, ` --drop ${dropped.join(',')}`)}`);
}

const started = Date.now();
const faulty = [];
const right = [];
const request = async (number) => {
  const whole = { seed, number, small, exported };
  if (drop === undefined) return await generator.make(whole);
  const out = new Set(drop.split(',').map(Number));
  const { kept } = await generator.make(whole);
  return await generator.make({ ...whole, kept: kept.filter((position) => !out.has(position)) });
};
let next = request(first);
for (let number = first; number < first + cases; number++) {
  const network = await next;
  const checked = network.none ? null : check(network, verbose && cases === 1);
  if (number + 1 < first + cases) next = request(number + 1);
  if (!checked) {
    count(`no truth: ${network.none.split(/[:.\n]/)[0]}`);
    if (verbose) console.log(`network ${number}: no truth: ${network.none}`);
    continue;
  }
  const { verdict, graphs } = await checked;
  if (graphs) console.log(graphs);
  let { faults } = verdict;
  const unclear =
    faults.length > 0 && faults.every(({ kind }) => ['map', 'outputs', 'scores', 'gradient'].includes(kind));
  if (unclear) {
    await next;
    const asked = await generator.make({ seed, number, small, exported, kept: network.kept, again: true });
    faults = (await check(asked)).verdict.faults;
    if (faults.length === 0) count('right, but at a tie');
  }
  if (faults.length === 0) {
    count(
      network.refusal
        ? `refused, as it must be: ${network.refusal}`
        : verdict.refusals.length > 0
          ? 'refused'
          : 'right',
    );
    for (const refusal of verdict.refusals) count(`  ${refusal.slice(0, 160)}`);
    if (!unclear) right.push(network);
  } else {
    count(`wrong: ${faults[0].kind}`);
    faulty.push(number);
    await next;
    await report(network, faults);
  }
  count('maps compared', verdict.mapsCompared);
  count('maps of rounding only, not compared', verdict.mapsSkipped);
  if (verbose)
    console.log(
      `network ${number}: ${faults[0]?.text ?? verdict.refusals[0] ?? 'right'} (${network.statements.join(', ')})`,
    );
}
generator.stop();
explaining.stop();
if (store) storeNetworks(store, right.slice(0, storedNetworks), folder);
if (!keep) rmSync(folder, { recursive: true });

console.log(`\n${cases} networks, seed ${seed}, ${((Date.now() - started) / 1000).toFixed(0)} s`);
for (const [what, times] of [...counts].sort((a, b) => b[1] - a[1]))
  console.log(`${String(times).padStart(7)}  ${what}`);
if (faulty.length > 0) {
  console.log(`\n${faulty.length} are wrong. Again with:`);
  for (const number of faulty) console.log(`  ${again(number)}`);
  process.exitCode = 1;
}
