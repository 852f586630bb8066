// npm run compare:models: architectures by name, explained with default options and compared with pytorch-grad-cam.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { commandOf } from '../../checks/command.mjs';
import { compare } from './compare.mjs';
import { tableOf, verdictOf, writeRow } from './table.mjs';
import { TruthProcess } from './truth_process.mjs';

const program = commandOf(
  'compare:models',
  `Makes each architecture with random weights, asks for the layer to explain, and compares the maps of that layer with \
pytorch-grad-cam's in double precision.`,
)
  .argument('[names...]', 'of architectures (tools/compare/models/architectures.py); default: all')
  .option(
    '--python <program>',
    'a Python with tools/requirements.txt',
    process.env.GRADCAM_PYTHON ?? 'python3',
  )
  .option('--write', 'put the rows into the table of docs/models.md')
  .addHelpText('after', '\nExit code 0: all are right. 1: one is not. 2: wrong options.')
  .parse();
const { python, write } = program.opts();

const listing = new TruthProcess(python);
const known = await listing.next();
listing.stop();
const unknown = program.args.filter((name) => !known.includes(name));
if (unknown.length > 0) {
  console.error(`There is no ${unknown.join(', ')}. There are: ${known.join(', ')}`);
  process.exit(2);
}

const rows = [];
for (const name of program.args.length > 0 ? program.args : known) {
  const started = Date.now();
  const folder = mkdtempSync(join(tmpdir(), 'gradcam-compare-models-'));
  const truth = new TruthProcess(python, name, folder);
  try {
    rows.push(await compare(await truth.next(), truth, folder));
  } catch (error) {
    rows.push({ name, shape: [], differences: {}, references: {}, faults: [error.message] });
  } finally {
    truth.stop();
    rmSync(folder, { recursive: true, force: true });
  }
  const row = rows.at(-1);
  console.log(`${name}: ${verdictOf(row)} (${((Date.now() - started) / 1000).toFixed(0)} s)`);
  for (const fault of row.faults) console.log(`  ${fault}`);
  if (write) writeRow(row, known);
}

console.log(`\n${tableOf(rows)}`);
process.exitCode = rows.every(({ faults }) => faults.length === 0) ? 0 : 1;
