import { cpuContestants, peers, titles } from './contestants.mjs';
import { figure, geometricMean } from './statistics.mjs';

// A column has a head, what it says of a cell, the ratio whose geometric mean stands under it, if any, a shorter head for the
// terminal, and what is to be said under the table.

const ratioColumn = (head, ratio, digits = 2, more = {}) => ({
  head,
  read: ({ ratios }) => figure(ratios[ratio], digits),
  mean: (cells) =>
    figure(geometricMean(cells.map(({ ratios }) => ratios[ratio]).filter(Number.isFinite)), digits),
  ...more,
});
const timeColumn = (head, name, more = {}) => ({ head, read: (cell) => perImage(cell, name), ...more });

const perImage = ({ medians, batch }, name) =>
  figure(medians[name] === null ? null : medians[name] / batch, 1);

const first = [
  { head: 'model', read: ({ label }) => label },
  { head: 'B', read: ({ batch }) => String(batch) },
];
const shortNames = { onnxruntime: 'ORT', openvino: 'OV' };

/** Ours against predictions. Where no other runtime could take part, its columns are left out. */
export function predictionColumns(cells) {
  const some = cells.some(({ fastestPrediction }) => fastestPrediction !== null);
  const fastest = {
    head: 'fastest prediction',
    short: 'fastest',
    read: (cell) => {
      const name = cell.fastestPrediction;
      return name === null ? '-' : `${perImage(cell, name)} ${shortNames[name]}`;
    },
    note: 'fastest: the faster of ONNX Runtime (ORT) and OpenVINO (OV)',
  };
  return [
    ...first,
    timeColumn('ours', 'ours', { note: 'ours, eager: milliseconds per image' }),
    timeColumn('eager', 'eager'),
    ...(some ? [fastest] : []),
    ratioColumn('ours/eager', 'oursToEager'),
    ...(some ? [ratioColumn('ours/fastest', 'oursToPrediction')] : []),
    ratioColumn('forward/best LibTorch', 'forwardToLibTorch', 2, {
      short: 'forward',
      note: "forward: model.forward against the best of LibTorch's own forms",
    }),
  ];
}

/** Ours against who else makes heatmaps. */
export function explainerColumns() {
  return [
    ...first,
    ratioColumn('grad-cam', 'gradcamToOurs', 1, { note: 'grad-cam, torch-cam, Captum: their time / ours' }),
    ratioColumn('torch-cam', 'torchcamToOurs', 1),
    ratioColumn('Captum', 'captumToOurs', 1),
    {
      head: 'differs',
      read: ({ differences: { ours, plain, outputs }, differing }) =>
        `${differing.length > 0 ? '!' : ''}${Math.max(ours, plain, outputs).toExponential(0)}`,
      note: "differs: the most from pytorch-grad-cam's maps and eager's outputs; !: FAILED",
    },
  ];
}

/** Milliseconds per image of those who were measured: the median and, after it, the tenth to the ninetieth percentile. */
export function spreadColumns(cells, names = cpuContestants) {
  const measured = names.filter((name) => cells.some(({ medians }) => medians[name] !== null));
  return [...first, ...measured.map((name) => ({ head: titles[name] ?? name, read: withSpread(name) }))];
}

export const ratioOfMediansColumn = {
  head: 'ours/eager of medians',
  read: ({ ratiosOfMedians }) => figure(ratiosOfMedians.oursToEager),
};

function withSpread(name) {
  return ({ medians, spread, batch }) => {
    if (medians[name] === null) return '-';
    const [median, low, high] = [medians[name], ...spread[name]].map((value) => value / batch);
    const digits = median < 10 ? 1 : 0;
    return `${figure(median, digits)} (${figure(low, digits)}-${figure(high, digits)})`;
  };
}

/**
 * A head, a row for each cell and, for each batch size with several models, the geometric means of its ratios over one layer
 * of each model; with the notes that belong under them.
 */
export function tableOf(cells, columns, { short = false } = {}) {
  const means = columns.some(({ mean }) => mean) ? meanRows(cells, columns) : [];
  return {
    rows: [
      columns.map((column) => (short && column.short) || column.head),
      ...cells.map((cell) => columns.map(({ read }) => read(cell))),
      ...means,
    ],
    notes: [
      ...columns.map(({ note }) => note).filter(Boolean),
      ...(means.length > 0 ? ['geometric mean: of one layer of each model that has a figure'] : []),
    ],
  };
}

function meanRows(cells, columns) {
  const batches = [...new Set(cells.map(({ batch }) => batch))].sort((a, b) => a - b);
  return batches.flatMap((batch) => {
    const those = cells.filter((cell) => cell.batch === batch && cell.label === cell.model);
    if (those.length < 2) return [];
    const rest = columns.slice(first.length).map(({ mean }) => mean?.(those) ?? '');
    return [[`geometric mean (${those.length})`, String(batch), ...rest]];
  });
}

/** What is to be known of the cells besides their figures: which failed, what differs and who did not take part. */
export function remarks(cells) {
  const measured = cells.filter(({ error }) => !error);
  const name = ({ label, batch }) => `${label} B=${batch}`;
  const failed = cells.filter(({ error }) => error).map((cell) => `${name(cell)} failed: ${cell.error}`);
  const parts = { ours: 'our maps', plain: 'our maps, not optimized,', outputs: 'our outputs' };
  const differing = measured.flatMap((cell) =>
    cell.differing.map((one) => {
      const what = parts[one] ?? `outputs of ${titles[one]}`;
      return `${name(cell)}: ${what} differ by ${cell.differences[one].toExponential(0)}`;
    }),
  );
  const absent = new Map();
  for (const cell of measured)
    for (const [one, why] of Object.entries(cell.failures)) {
      if (peers.includes(one) && /reshape|asked/.test(why)) continue; // a dash says enough
      const told = `${titles[one]}: ${why}`;
      absent.set(told, [...(absent.get(told) ?? []), name(cell)]);
    }
  const missing = [...absent].map(([told, where]) =>
    where.length === measured.length ? told : `${told} (${where.join(', ')})`,
  );
  return [...failed, ...differing, ...missing];
}
