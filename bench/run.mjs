// `npm run bench`: pytorch-grad-cam, torch-cam and Captum against this library, in one run, turn by turn.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, InvalidArgumentError, Option } from 'commander';
import { measureExtras, onResNet50 } from './extras.mjs';
import { describeMachine, inspectPython, loadAverage } from './machine.mjs';
import { measureMethods } from './methods.mjs';
import { drawRatios } from './picture.mjs';
import { markdown, terminalTable } from './report.mjs';
import { startSession } from './session.mjs';
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
  .description('Measures explains against PyTorch, interleaved, with the same models, inputs and threads.')
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
  .option('--out <folder>', 'where results.json, results.md and ratios.png go', join(here, 'results'))
  .parse()
  .opts();

const python = checkPython(options.python);
const { folder, progress } = startSession();

const models = all.filter(({ name }) => !options.models || options.models.includes(name));
const results = { machine: describeMachine(options, python), timings: [], extras: null, methods: null };
mkdirSync(options.out, { recursive: true });
const save = () => {
  writeFileSync(join(options.out, 'results.json'), `${JSON.stringify(results, null, 2)}\n`);
  writeFileSync(join(options.out, 'results.md'), markdown(results));
};
const keepCells = (cells) => {
  results.timings = cells;
  save();
};
const run = { options, folder, models, progress, keepCells };
const wanted = (part) => options.only === undefined || options.only === part;
if (wanted('timings')) results.timings = await measureTimings(run);
if (wanted('extras')) results.extras = await measureExtras(run);
if (wanted('methods')) results.methods = await measureMethods(await onResNet50(run));
results.machine.loadAverageAfter = loadAverage();
save();
if (results.timings.length > 0) await drawRatios(results.timings, join(options.out, 'ratios.png'));
console.log(terminalTable(results));
console.error(`Written to ${options.out}`);
if (results.timings.some(({ error, failed }) => error || failed)) process.exitCode = 1;

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
