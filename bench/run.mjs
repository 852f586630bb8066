// `npm run bench`: pytorch-grad-cam, torch-cam and Captum against this library, in one run, turn by turn.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { measureExtras } from './extras.mjs';
import { describeMachine } from './machine.mjs';
import { drawRatios } from './picture.mjs';
import { markdown, terminalTable } from './report.mjs';
import { measureTimings } from './timings.mjs';

const here = fileURLToPath(new URL('.', import.meta.url));
const numbers = (text) => text.split(',').map(Number);

const options = new Command('bench')
  .description('Measures explains against PyTorch, interleaved, with the same models, inputs and threads.')
  .option(
    '--python <path>',
    'Python with bench/requirements.txt',
    process.env.GRADCAM_BENCH_PYTHON ?? '.venv/bin/python',
  )
  .option('--models <names>', 'only these, by comma', (text) => text.split(','))
  .option('--batches <sizes>', 'batch sizes', numbers, [1, 8, 32])
  .option('--rounds <count>', 'rounds of batches 1 and 8; larger batches get half', Number, 6)
  .option('--peer-rounds <count>', 'rounds in which torch-cam and Captum take part', Number, 2)
  .option('--threads <count>', 'threads of each side', Number, 2)
  .option('--only <part>', "'timings' or 'extras'")
  .option('--out <folder>', 'where results.json, results.md and ratios.png go', join(here, 'results'))
  .parse()
  .opts();

if (!existsSync(options.python)) {
  console.error(
    `There is no Python at ${options.python}. Make one with bench/requirements.txt:\n` +
      '  python3 -m venv .venv && .venv/bin/pip install -r bench/requirements.txt\n' +
      'or name one with --python.',
  );
  process.exit(2);
}

const folder = mkdtempSync(join(tmpdir(), 'gradcam-bench-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(130));

const started = performance.now();
const progress = (text) => {
  const seconds = Math.round((performance.now() - started) / 1000);
  console.error(
    `[${String(Math.floor(seconds / 60)).padStart(2)}:${String(seconds % 60).padStart(2, '0')}] ${text}`,
  );
};

const all = JSON.parse(readFileSync(join(here, 'models.json'), 'utf8'));
const models = all.filter(({ name }) => !options.models || options.models.includes(name));
const run = { options, folder, models, progress };

const results = { machine: await describeMachine(options), timings: [], extras: null };
if (options.only !== 'extras') results.timings = await measureTimings(run);
if (options.only !== 'timings') results.extras = await measureExtras(run);

mkdirSync(options.out, { recursive: true });
writeFileSync(join(options.out, 'results.json'), `${JSON.stringify(results, null, 2)}\n`);
writeFileSync(join(options.out, 'results.md'), markdown(results));
if (results.timings.length > 0) await drawRatios(results.timings, join(options.out, 'ratios.png'));
console.log(terminalTable(results));
console.error(`Written to ${options.out}`);
