import { cpuContestants, peers, titles } from './contestants.mjs';
import { extraRows, methodRows } from './report_extras.mjs';
import { isas } from './side.mjs';
import { figure, geometricMean } from './statistics.mjs';

const shortNames = { onnxruntime: 'ORT', openvino: 'OV' };
const perImage = (name, digits = 1) => {
  return ({ medians, batch }) => figure(medians[name] === null ? null : medians[name] / batch, digits);
};
const ratio = (name, digits) =>
  Object.assign(({ ratios }) => figure(ratios[name], digits), { mean: name, digits });

function fastest(cell) {
  const name = cell.fastestPrediction;
  return name === null ? '-' : `${perImage(name)(cell)} ${shortNames[name]}`;
}

function difference({ differences, differing }) {
  const most = Math.max(differences.ours, differences.plain, differences.outputs);
  return `${differing.length > 0 ? '!' : ''}${most.toExponential(0)}`;
}

const first = [
  ['model', ({ label }) => label],
  ['B', ({ batch }) => String(batch)],
];
/** Ours against predictions. Where none but LibTorch's own could take part, those columns are left out. */
const predictionColumns = (cells, { short }) => {
  const hasOthers = cells.some(({ fastestPrediction }) => fastestPrediction !== null);
  return [
    ...first,
    ['ours', perImage('ours')],
    ['eager', perImage('eager')],
    ...(hasOthers ? [[short ? 'fastest' : 'fastest prediction', fastest]] : []),
    ['ours/eager', ratio('oursToEager')],
    ...(hasOthers ? [['ours/fastest', ratio('oursToPrediction')]] : []),
    [short ? 'forward' : 'forward/best LibTorch', ratio('forwardToLibTorch')],
  ];
};
/** Ours against who else makes heatmaps. */
const explainerColumns = [
  ...first,
  ['grad-cam', ratio('gradcamToOurs', 1)],
  ['torch-cam', ratio('torchcamToOurs', 1)],
  ['Captum', ratio('captumToOurs', 1)],
  ['differs', difference],
];

function headOf(name) {
  const own = {
    gradcam: 'grad-cam',
    plain: 'not optimized',
    forward: 'our forward',
    torchscript: 'TorchScript',
  };
  return own[name] ?? titles[name] ?? name;
}

// In one cell the median and, after it, the tenth to the ninetieth percentile.
const withSpread = (name) => {
  return ({ medians, spread, batch }) => {
    if (medians[name] === null) return '-';
    const [median, low, high] = [medians[name], ...spread[name]].map((value) => value / batch);
    const digits = median < 10 ? 1 : 0;
    return `${figure(median, digits)} (${figure(low, digits)}-${figure(high, digits)})`;
  };
};
const spreadColumns = [
  ...first,
  ...['ours', 'eager', 'gradcam'].map((name) => [headOf(name), withSpread(name)]),
];
const allColumns = [
  ...first,
  ...cpuContestants.map((name) => [headOf(name), withSpread(name)]),
  ['ours/eager of medians', ({ ratiosOfMedians }) => figure(ratiosOfMedians.oursToEager)],
];

const cellsOf = ({ timings }, isa) => timings.filter((cell) => cell.isa === isa && !cell.error);

function rowsOf(cells, columns) {
  return [columns.map(([name]) => name), ...cells.map((cell) => columns.map(([, read]) => read(cell)))];
}

/** For each batch size the geometric means of the ratios, over one layer of each model. */
function meanRows(cells, columns) {
  const batches = [...new Set(cells.map(({ batch }) => batch))].sort((a, b) => a - b);
  return batches.flatMap((batch) => {
    const those = cells.filter((cell) => cell.batch === batch && cell.label === cell.model);
    if (those.length < 2) return [];
    const meanOf = ({ mean, digits }) => {
      const known = those.map(({ ratios }) => ratios[mean]).filter(Number.isFinite);
      return figure(geometricMean(known), digits);
    };
    const rest = columns.slice(2).map(([, read]) => (read.mean ? meanOf(read) : ''));
    return [[`geometric mean (${those.length})`, String(batch), ...rest]];
  });
}

const withMeans = (cells, columns) => [...rowsOf(cells, columns), ...meanRows(cells, columns)];

/** What is to be known of the cells besides their figures. */
function notes(results, isa) {
  const cells = results.timings.filter((cell) => cell.isa === isa);
  const measured = cells.filter(({ error }) => !error);
  const name = ({ label, batch }) => `${label} B=${batch}`;
  const failed = cells.filter(({ error }) => error).map((cell) => `${name(cell)} failed: ${cell.error}`);
  const differing = measured.flatMap((cell) =>
    cell.differing.map((one) => {
      const what = { ours: 'our maps', plain: 'our maps, not optimized,', outputs: 'our outputs' }[one];
      return `${name(cell)}: ${what ?? `outputs of ${headOf(one)}`} differ by ${cell.differences[one].toExponential(0)}`;
    }),
  );
  const absent = new Map();
  for (const cell of measured)
    for (const [one, why] of Object.entries(cell.failures)) {
      if (peers.includes(one) && /reshape|asked/.test(why)) continue; // a dash says enough
      const told = `${headOf(one)}: ${why}`;
      absent.set(told, [...(absent.get(told) ?? []), name(cell)]);
    }
  const missing = [...absent].map(([told, where]) =>
    where.length === measured.length ? told : `${told} (${where.join(', ')})`,
  );
  return [...failed, ...differing, ...missing];
}

function aligned(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows.map(
    (row) =>
      row
        .map((cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column])))
        .join(' '), // one space: the widest table fits into 80 columns
  );
}

/** Instruction sets of which there is something, and their headings. */
function sections(results) {
  return isas
    .filter(
      (isa) =>
        results.timings.some((cell) => cell.isa === isa) || results.extras[isa] || results.methods[isa],
    )
    .map((isa) => ({
      isa,
      title: isa === 'native' ? `All instructions (${results.machine.cpuCapability})` : 'AVX2 only',
    }));
}

const meaning = {
  perImage: 'ours, eager: milliseconds per image',
  fastest: 'fastest: the faster of ONNX Runtime (ORT) and OpenVINO (OV)',
  forward: "forward: model.forward against the best of LibTorch's own forms",
  others: 'grad-cam, torch-cam, Captum: their time / ours',
  differs: "differs: the largest difference from pytorch-grad-cam's maps and eager's outputs",
  mean: 'geometric mean: of one layer of each model',
};

export function terminalTable(results) {
  const lines = [];
  for (const { isa, title } of sections(results)) {
    const cells = cellsOf(results, isa);
    lines.push(title, '');
    if (cells.length > 0) {
      lines.push(
        ...aligned(withMeans(cells, predictionColumns(cells, { short: true }))),
        '',
        ...['perImage', 'fastest', 'forward', 'mean'].map((name) => meaning[name]),
        '',
        ...aligned(withMeans(cells, explainerColumns)),
        '',
        ...['others', 'differs'].map((name) => meaning[name]),
        '',
        'milliseconds per image: median (10th to 90th percentile)',
        ...aligned(rowsOf(cells, spreadColumns)),
        '',
      );
    }
    lines.push(...notes(results, isa));
    for (const [name, value] of [...extraRows(results.extras[isa]), ...methodRows(results.methods[isa])])
      lines.push(`${name.padEnd(40)} ${value}`);
  }
  return lines.join('\n');
}

export function markdown(results) {
  const lines = [measuredOn(results), ''];
  const table = ([head, ...rows]) => {
    lines.push(`| ${head.join(' | ')} |`, `|${head.map((_, i) => (i === 0 ? '---' : '---:')).join('|')}|`);
    for (const row of rows) lines.push(`| ${row.join(' | ')} |`);
    lines.push('');
  };
  const explain = (...names) => lines.push(`${names.map((name) => meaning[name]).join('; ')}.`, '');
  for (const { isa, title } of sections(results)) {
    const cells = cellsOf(results, isa);
    lines.push(`## ${title}`, '');
    if (cells.length > 0) {
      lines.push('### Against predictions', '');
      table(withMeans(cells, predictionColumns(cells, { short: false })));
      explain('perImage', 'fastest', 'forward', 'mean');
      lines.push('### Against other explainers', '');
      table(withMeans(cells, explainerColumns));
      explain('others', 'differs', 'mean');
      lines.push('### Milliseconds per image, median (10th to 90th percentile)', '');
      table(rowsOf(cells, allColumns));
    }
    const told = notes(results, isa);
    if (told.length > 0) lines.push(...told.map((note) => `- ${note}`), '');
    const extras = extraRows(results.extras[isa]);
    if (extras.length > 0) table([['ResNet-50, layer4', 'figure'], ...extras]);
    const methods = methodRows(results.methods[isa]);
    if (methods.length > 0) table([['ResNet-50, layer4, one image', 'figure'], ...methods]);
  }
  return lines.join('\n');
}

function measuredOn({ machine, runs, timings }) {
  const versions = Object.entries(machine.packages).map(([name, version]) => `${name} ${version}`);
  const loads = runs.map(
    ({ isa, loadAverageBefore: before, loadAverageAfter: after }) =>
      `${isa} ${before.join(' ')} to ${after?.join(' ') ?? 'not known, it was stopped'}`,
  );
  const days = [...new Set(runs.map(({ date }) => date.slice(0, 10)))].sort();
  const builds = new Set(timings.map(({ addon }) => addon)).size;
  return (
    `Measured on ${[...new Set([days[0], days.at(-1)])].join(' to ')}: ${machine.processor}, ${machine.cores} cores ` +
    `(${machine.cpuCapability}), ${machine.memoryGiB} GiB, ${machine.system}, Node ${machine.node}, LibTorch ` +
    `${machine.libtorch}, Python ${machine.python} with ${versions.join(', ')}; ${machine.threads} threads on each side; ` +
    `load average before and after: ${loads.join('; ')}.` +
    (builds > 1 ? ` **The cells were measured with ${builds} different builds of the addon.**` : '')
  );
}
