// The table of docs/models.md.
import { readFileSync, writeFileSync } from 'node:fs';

const page = new URL('../../../docs/models.md', import.meta.url);

function reshapeText(reshape) {
  if (!reshape) return 'none';
  const { kind, ...more } = reshape;
  const text = Object.entries(more)
    .map(([key, value]) => `${key}: ${Array.isArray(value) ? `[${value.join(', ')}]` : value}`)
    .join(', ');
  return text ? `\`{ kind: '${kind}', ${text} }\`` : `\`'${kind}'\``;
}

const small = (value) =>
  value
    .toExponential(1)
    .replace('e-', 'e-0')
    .replace(/e-0(\d\d)/, 'e-$1');
const largest = (differences, ways) => small(Math.max(...ways.map((way) => differences[way])));

export function verdictOf({ faults, suggestion, decidedByFloat64 }) {
  if (faults.length > 0) return 'wrong';
  if (suggestion.code) return `refused, rightly: \`${suggestion.code}\``;
  return decidedByFloat64 ? 'right, by float64' : 'right';
}

const head = [
  'model',
  'file',
  'input',
  'layer suggested',
  'reshape',
  'Grad-CAM',
  'Eigen-CAM',
  'its own float32',
  'verdict',
];
const lineOf = (cells) => `| ${cells.join(' | ')} |`;

function lineOfRow(row) {
  const { suggestion, differences, references } = row;
  return lineOf([
    `\`${row.name}\``,
    row.scripted ? 'scripted' : 'traced',
    row.shape.join(' x '),
    suggestion?.path ? `\`${suggestion.path}\`` : '-',
    suggestion?.path ? reshapeText(suggestion.reshapeTransform) : '-',
    ...['GradCAM', 'EigenCAM'].map((method) =>
      differences[method] ? largest(differences[method], ['fast', 'plain']) : '-',
    ),
    Object.keys(references).length > 0 ? small(Math.max(...Object.values(references))) : '-',
    verdictOf(row),
  ]);
}

export const tableOf = (rows) =>
  [lineOf(head), lineOf(head.map(() => '---')), ...rows.map(lineOfRow)].join('\n');

/** Puts one row into the page's table, in the order of `names`. */
export function writeRow(row, names) {
  const text = readFileSync(page, 'utf8');
  const [table] = /\| model \| file [\s\S]*?\n(?=\n)/.exec(text) ?? [];
  if (table === undefined) throw new Error('docs/models.md has no table');
  const lines = new Map(table.split('\n').map((line) => [/^\| `(.*?)` /.exec(line)?.[1], line]));
  lines.set(row.name, lineOfRow(row));
  const rows = names.filter((name) => lines.has(name)).map((name) => lines.get(name));
  writeFileSync(
    page,
    text.replace(table, () => `${[...table.split('\n').slice(0, 2), ...rows].join('\n')}\n`),
  );
}
