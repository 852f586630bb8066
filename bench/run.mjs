// `npm run bench`: pytorch-grad-cam, torch-cam, Captum and the fastest predictions against this library, turn by turn.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, InvalidArgumentError, Option } from 'commander';
import { extras, onResNet50 } from './extras.mjs';
import { addonDigest, describeMachine, inspectPython, loadAverage } from './machine.mjs';
import { methods } from './methods.mjs';
import { drawRatios } from './picture.mjs';
import { markdown, terminalTable } from './report.mjs';
import { continueResults, isMeasured, readResults, withCell, writeResults } from './results.mjs';
import { startSession } from './session.mjs';
import { isas } from './side.mjs';
import { measureTimings } from './timings.mjs';

const here = fileURLToPath(new URL('.', import.meta.url));
const all = JSON.parse(readFileSync(join(here, 'models.json'), 'utf8'));

function count(text) {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('It has to be 1, 2, 3, ...');
  return value;
}
const countOrNone = (text) => (text === '0' ? 0 : count(text));
const counts = (text) => text.split(',').map(count);
function modelNames(text) {
  const names = text.split(',');
  const unknown = names.find((wanted) => !all.some(({ name }) => name === wanted));
  if (unknown !== undefined) throw new InvalidArgumentError(`There is no ${unknown} in bench/models.json.`);
  return names;
}

const options = new Command('bench')
  .description(
    'Measures explains against PyTorch, ONNX Runtime and OpenVINO, interleaved, with the same models, inputs and threads.',
  )
  .option(
    '--python <path>',
    'Python with bench/requirements.txt',
    process.env.GRADCAM_BENCH_PYTHON ?? join(here, '..', '.venv', 'bin', 'python'),
  )
  .option('--models <names>', 'only these, by comma', modelNames)
  .option('--batches <sizes>', 'batch sizes', counts, [1, 8, 32])
  .option('--rounds <count>', 'rounds of batches 1 to 8; larger batches get half', count, 6)
  .option('--peer-rounds <count>', 'rounds in which torch-cam and Captum take part', countOrNone, 2)
  .option('--threads <count>', 'threads of each side', count, 2)
  .option('--peak-batches <sizes>', 'batch sizes whose peak memory is measured', counts, [8, 32])
  .option('--growth-explains <count>', 'explains between which memory may not grow', count, 2000)
  .addOption(new Option('--only <part>', 'only this').choices(['timings', 'extras', 'methods']))
  .addOption(
    new Option('--isa <name>', 'what LibTorch may use of the processor').choices(isas).default('native'),
  )
  .option('--out <folder>', 'where results.json, results.md and ratios.png go', join(here, 'results'))
  .option('--resume', 'measure only what is not in results.json yet', false)
  .parse()
  .opts();

const python = checkPython(options.python);
const models = all.filter(({ name }) => !options.models || options.models.includes(name));
const path = join(options.out, 'results.json');
const results = openResults();
const run = { isa: options.isa, date: new Date().toISOString(), loadAverageBefore: loadAverage() };
results.runs.push(run);
const addon = addonDigest();
const save = () => {
  writeResults(path, results);
  writeFileSync(join(options.out, 'results.md'), markdown(results));
};
process.once('SIGINT', () =>
  console.error(`What was finished is in ${options.out}; --resume goes on from there.`),
);
const { folder, progress } = startSession();

const chosen = (part) => options.only === undefined || options.only === part;
if (chosen('timings')) {
  const wanted = (cell) => !(options.resume && isMeasured(results.timings, cell));
  const keep = (cell) => {
    const labels = all.map(({ name, label }) => label ?? name);
    results.timings = withCell(results.timings, { ...cell, addon }, labels);
    save();
  };
  await measureTimings({ options, folder, models, python, progress, wanted, keep });
}
for (const [kind, parts] of Object.entries({ extras, methods })) {
  if (!chosen(kind)) continue;
  results[kind][options.isa] ??= {};
  const kept = results[kind][options.isa];
  const left = Object.keys(parts).filter((name) => !(options.resume && name in kept));
  const onModel = left.length > 0 ? await onResNet50({ options, folder, progress }) : null;
  for (const name of left) {
    kept[name] = await parts[name](onModel);
    save();
  }
}
run.loadAverageAfter = loadAverage();
save();
await drawRatios(results.timings, join(options.out, 'ratios.png'));
console.log(terminalTable(results));
console.error(`Written to ${options.out}`);
if (results.timings.some(({ error, differing }) => error || differing.length > 0)) process.exitCode = 1;

/** What an earlier run left in the folder, if anything: this one adds to it. */
function openResults() {
  mkdirSync(options.out, { recursive: true });
  const settings = { rounds: options.rounds, peerRounds: options.peerRounds };
  try {
    const found = existsSync(path) ? readResults(path) : null;
    return continueResults(found, { machine: describeMachine(options, python), settings });
  } catch (error) {
    console.error(`Nothing can be added to ${path}. ${error.message} Remove it, or give another --out.`);
    process.exit(2);
  }
}

function checkPython(path) {
  const advice =
    'Make one with bench/requirements.txt:\n' +
    '  python3 -m venv .venv && .venv/bin/pip install -r bench/requirements.txt\n' +
    'or name one with --python or GRADCAM_BENCH_PYTHON.';
  let problem = null;
  let found;
  if (!existsSync(path)) problem = `There is no Python at ${path}.`;
  else {
    try {
      found = inspectPython(path);
      if (found.missing.length > 0) problem = `The Python at ${path} lacks ${found.missing.join(', ')}.`;
    } catch (error) {
      problem = `The Python at ${path} does not run: ${error.message.split('\n')[0]}`;
    }
  }
  if (problem === null) return found;
  console.error(`${problem} ${advice}`);
  process.exit(2);
}
