import { extraRows, methodRows } from './report_extras.mjs';
import {
  explainerColumns,
  predictionColumns,
  ratioOfMediansColumn,
  remarks,
  spreadColumns,
  tableOf,
} from './report_tables.mjs';
import { isas } from './side.mjs';

const spreadTitle = 'Milliseconds per image: median (10th to 90th percentile)';

export function terminalTable(results) {
  const lines = [];
  for (const { isa, title } of sections(results)) {
    const all = results.timings.filter((cell) => cell.isa === isa);
    const cells = all.filter(({ error }) => !error);
    lines.push(title, '');
    if (cells.length > 0) {
      for (const columns of [predictionColumns(cells), explainerColumns()]) {
        const { rows, notes } = tableOf(cells, columns, { short: true });
        lines.push(...aligned(rows), '', ...notes, '');
      }
      const { rows } = tableOf(cells, spreadColumns(cells, ['ours', 'eager', 'gradcam']));
      lines.push(spreadTitle, ...aligned(rows), '');
    }
    lines.push(...remarks(all));
    for (const [name, value] of [...extraRows(results.extras[isa]), ...methodRows(results.methods[isa])])
      lines.push(`${name.padEnd(40)} ${value}`);
    lines.push('');
  }
  return lines
    .join('\n')
    .replace(/\n{3,}/g, '\n\n')
    .trimEnd();
}

export function markdown(results) {
  const lines = [measuredOn(results), ''];
  const add = (rows, notes = []) => {
    const [head, ...body] = rows;
    lines.push(`| ${head.join(' | ')} |`, `|${head.map((_, i) => (i === 0 ? '---' : '---:')).join('|')}|`);
    for (const row of body) lines.push(`| ${row.join(' | ')} |`);
    lines.push('');
    if (notes.length > 0) lines.push(`${notes.join('; ')}.`, '');
  };
  for (const { isa, title } of sections(results)) {
    const all = results.timings.filter((cell) => cell.isa === isa);
    const cells = all.filter(({ error }) => !error);
    lines.push(`## ${title}`, '');
    if (cells.length > 0) {
      const tables = {
        'Against predictions': predictionColumns(cells),
        'Against other explainers': explainerColumns(),
        [spreadTitle]: [...spreadColumns(cells), ratioOfMediansColumn],
      };
      for (const [heading, columns] of Object.entries(tables)) {
        const { rows, notes } = tableOf(cells, columns);
        lines.push(`### ${heading}`, '');
        add(rows, notes);
      }
    }
    const told = remarks(all);
    if (told.length > 0) lines.push(...told.map((remark) => `- ${remark}`), '');
    const extras = extraRows(results.extras[isa]);
    if (extras.length > 0) add([['ResNet-50, layer4', 'figure'], ...extras]);
    const methods = methodRows(results.methods[isa]);
    if (methods.length > 0) add([['ResNet-50, layer4, one image', 'figure'], ...methods]);
  }
  return lines.join('\n');
}

/** The instruction sets that something was measured with, each with a heading. */
function sections({ timings, extras, methods, machine }) {
  const titles = { native: `All instructions (${machine.cpuCapability})`, avx2: 'AVX2 only' };
  return isas
    .filter((isa) => timings.some((cell) => cell.isa === isa) || extras[isa] || methods[isa])
    .map((isa) => ({ isa, title: titles[isa] }));
}

function aligned(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows.map((row) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column])))
      .join(' ') // one space: the widest table fits into 80 columns
      .trimEnd(),
  );
}

function measuredOn({ machine, runs, timings }) {
  const versions = Object.entries(machine.packages).map(([name, version]) => `${name} ${version}`);
  const loads = runs.map(
    ({ isa, loadAverageBefore: before, loadAverageAfter: after }) =>
      `${isa} ${before.join(' ')} to ${after?.join(' ') ?? 'what is not known, as it was stopped'}`,
  );
  const days = [...new Set(runs.map(({ date }) => date.slice(0, 10)))].sort();
  const builds = new Set(timings.map(({ addon }) => addon)).size;
  return (
    `Measured on ${[...new Set([days[0], days.at(-1)])].join(' to ')}: ${machine.processor}, ${machine.cores} cores ` +
    `(${machine.cpuCapability}), ${machine.memoryGiB} GiB, ${machine.system}, Node ${machine.node}, LibTorch ` +
    `${machine.libtorch}, Python ${machine.python} with ${versions.join(', ')}; ${machine.threads} threads on each side; ` +
    `load average of each run, before and after: ${loads.join('; ')}.` +
    (builds > 1 ? ` **The cells were measured with ${builds} different builds of the addon.**` : '')
  );
}
