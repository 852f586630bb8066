import { geometricMean } from './statistics.mjs';

const missing = (value) => value === null || value === undefined || !Number.isFinite(value);
const figure = (value, digits = 2) => (missing(value) ? '-' : value.toFixed(digits));
const perImage = (value, batch) => (missing(value) ? null : value / batch);
const measured = ({ timings }) => timings.filter(({ error }) => !error);

function difference({ differences, failed }) {
  const most = Math.max(differences.ours, differences.plain, differences.outputs);
  return `${failed ? '!' : ''}${most.toExponential(0)}`;
}

const ratioColumns = [
  ['model', ({ label }) => label],
  ['B', ({ batch }) => String(batch)],
  ['ours', ({ medians, batch }) => figure(perImage(medians.ours, batch), 1)],
  ['eager', ({ medians, batch }) => figure(perImage(medians.eager, batch), 1)],
  ['ours/eager', ({ ratios }) => figure(ratios.oursToEager)],
  ['grad-cam', ({ ratios }) => figure(ratios.gradcamToOurs, 1)],
  ['torch-cam', ({ ratios }) => figure(ratios.torchcamToOurs, 1)],
  ['Captum', ({ ratios }) => figure(ratios.captumToOurs, 1)],
  ['differs', difference],
];

// In one cell the median and, after it, the tenth to the ninetieth percentile.
const withSpread = (name) => {
  return ({ medians, spread, batch }) => {
    const [low, high] = spread[name] ?? [null, null];
    const shown = [medians[name], low, high].map((value) => figure(perImage(value, batch), 0));
    return medians[name] === null ? '-' : `${shown[0]} (${shown[1]}-${shown[2]})`;
  };
};
const spreadColumns = [
  ['model', ({ label }) => label],
  ['B', ({ batch }) => String(batch)],
  ['ours', withSpread('ours')],
  ['eager', withSpread('eager')],
  ['grad-cam', withSpread('gradcam')],
];
const allColumns = [
  ...spreadColumns,
  ['torch-cam', withSpread('torchcam')],
  ['Captum', withSpread('captum')],
  ['not optimized', withSpread('plain')],
  ['our forward', withSpread('forward')],
  ['TorchScript', withSpread('torchscript')],
  ['ours/eager of medians', ({ ratiosOfMedians }) => figure(ratiosOfMedians.oursToEager)],
];

function rowsOf(results, columns) {
  return [
    columns.map(([name]) => name),
    ...measured(results).map((cell) => columns.map(([, read]) => read(cell))),
  ];
}

function summary(results) {
  const atEight = measured(results).filter(({ batch, label, model }) => batch === 8 && label === model);
  if (atEight.length === 0) return '';
  const mean = geometricMean(atEight.map(({ ratios }) => ratios.gradcamToOurs));
  return `Geometric mean over ${atEight.length} models, B=8: ${mean.toFixed(2)} times as fast as pytorch-grad-cam.`;
}

const failedCells = ({ timings }) =>
  timings
    .filter(({ error }) => error)
    .map(({ label, batch, error }) => `${label} B=${batch} failed: ${error}`);

function extraRows({ extras }) {
  if (!extras) return [];
  const { firstCall, fiveClasses, callers, growth, peakMemory } = extras;
  return [
    ...Object.entries(firstCall).map(([batch, { first, steady, ratio }]) => [
      `first call / steady call, B=${batch}`,
      `${figure(ratio)} (${figure(first, 0)} / ${figure(steady, 0)} ms)`,
    ]),
    ['5 classes of one image / 1 class', figure(fiveClasses.ratio, 3)],
    ...callerRows(callers),
    [
      `memory, explain ${growth.explains.first} to ${growth.explains.last}`,
      `${figure(growth.first, 0)} to ${figure(growth.last, 0)} MiB (${figure((growth.last / growth.first - 1) * 100, 1)} %)`,
    ],
    ...Object.entries(peakMemory).flatMap(([batch, peaks]) => [
      [`peak memory, B=${batch}: explain / forward`, peak(peaks.ratio, peaks.ours, peaks.forward)],
      [`  not optimized / forward`, peak(peaks.plain / peaks.forward, peaks.plain, peaks.forward)],
      [`  pytorch-grad-cam / eager`, peak(peaks.pythonRatio, peaks.gradcam, peaks.eager)],
    ]),
  ];
}

function methodRows({ methods }) {
  if (!methods) return [];
  const { eigencam } = methods;
  const seconds = (ms) => `${figure(ms / 1000, 1)} s`;
  return [
    [
      "EigenCAM's arithmetic: pytorch-grad-cam / ours",
      `${figure(eigencam.ratio, 0)} (${figure(eigencam.gradcam, 0)} / ${figure(eigencam.ours, 1)} ms)`,
    ],
    ...['ablationcam', 'scorecam'].flatMap((name) => {
      const one = methods[name];
      const label = name === 'scorecam' ? 'ScoreCAM' : 'AblationCAM';
      return [
        [
          `${label}: pytorch-grad-cam / ours`,
          `${figure(one.ratio, 1)} (${seconds(one.gradcam)} / ${seconds(one.ours)})`,
        ],
        [
          `  memory on top of the forward's`,
          `${figure(one.gradcamMemory, 0)} / ${figure(one.ourMemory, 0)} MiB`,
        ],
        [`  differs`, one.difference.toExponential(0)],
      ];
    }),
  ];
}

const peak = (ratio, one, other) => `${figure(ratio)} (${figure(one, 0)} / ${figure(other, 0)} MiB)`;

function callerRows(callers) {
  if (!callers) return [['32 callers / direct batches of 8', 'not available']];
  const { ratio, concurrent, direct, eventLoopP99, idleEventLoopP99 } = callers;
  return [
    [
      '32 callers / direct batches of 8',
      `${figure(ratio)} (${figure(concurrent, 1)} / ${figure(direct, 1)} images/s)`,
    ],
    [
      'event-loop delay p99, busy less idle',
      `${figure(eventLoopP99 - idleEventLoopP99, 1)} ms (${figure(eventLoopP99, 1)} less ${figure(idleEventLoopP99, 1)})`,
    ],
  ];
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

export function terminalTable(results) {
  const lines = [];
  if (measured(results).length > 0) {
    lines.push(
      ...aligned(rowsOf(results, ratioColumns)),
      '',
      'ours, eager: ms per image. grad-cam, torch-cam, Captum: their time / ours.',
      ...(measured(results).some(({ failed }) => failed) ? ['!: FAILED, the values differ.'] : []),
      summary(results),
      '',
      'ms per image: median (10th to 90th percentile)',
      ...aligned(rowsOf(results, spreadColumns)),
      '',
    );
  }
  lines.push(...failedCells(results));
  for (const [name, value] of [...extraRows(results), ...methodRows(results)])
    lines.push(`${name.padEnd(40)} ${value}`);
  return lines.join('\n');
}

export function markdown(results) {
  const { machine } = results;
  const versions = Object.entries(machine.packages).map(([name, version]) => `${name} ${version}`);
  const lines = [
    `Measured on ${machine.date.slice(0, 10)}: ${machine.processor}, ${machine.cores} cores (${machine.cpuCapability}), ` +
      `${machine.memoryGiB} GiB, ${machine.system}, Node ${machine.node}, LibTorch ${machine.libtorch}, Python ` +
      `${machine.python} with ${versions.join(', ')}; ${machine.threads} threads on each side; load average ` +
      `${machine.loadAverageBefore.join(' ')} before, ${machine.loadAverageAfter?.join(' ') ?? 'not yet known'} after.`,
    '',
  ];
  const table = ([head, ...rows]) => {
    lines.push(`| ${head.join(' | ')} |`, `|${head.map((_, i) => (i === 0 ? '---' : '---:')).join('|')}|`);
    for (const row of rows) lines.push(`| ${row.join(' | ')} |`);
    lines.push('');
  };
  if (measured(results).length > 0) {
    table(rowsOf(results, ratioColumns));
    lines.push(summary(results), '', 'Milliseconds per image, median (10th to 90th percentile):', '');
    table(rowsOf(results, allColumns));
  }
  for (const failure of failedCells(results)) lines.push(`- ${failure}`);
  if (results.extras) table([['ResNet-50, layer4', 'figure'], ...extraRows(results)]);
  if (results.methods) table([['ResNet-50, layer4, one image', 'figure'], ...methodRows(results)]);
  return lines.join('\n');
}
