import { geometricMean } from './statistics.mjs';

const figure = (value, digits = 2) => (value === null || Number.isNaN(value) ? '-' : value.toFixed(digits));

const columns = [
  ['model', ({ label }) => label],
  ['B', ({ batch }) => String(batch)],
  ['ours', ({ medians, batch }) => figure(medians.ours / batch, 1)],
  ['eager', ({ medians, batch }) => figure(medians.eager / batch, 1)],
  ['ours/eager', ({ ratios }) => figure(ratios.oursToEager)],
  ['grad-cam', ({ ratios }) => figure(ratios.gradcamToOurs, 1)],
  ['torch-cam', ({ ratios }) => figure(ratios.torchcamToOurs, 1)],
  ['Captum', ({ ratios }) => figure(ratios.captumToOurs, 1)],
  ['differs', ({ differences }) => differences.ours.toExponential(0)],
];

function rowsOf({ timings }) {
  return [columns.map(([name]) => name), ...timings.map((cell) => columns.map(([, read]) => read(cell)))];
}

function summary({ timings }) {
  const atEight = timings.filter(({ batch, label, model }) => batch === 8 && label === model);
  if (atEight.length === 0) return '';
  const mean = geometricMean(atEight.map(({ ratios }) => ratios.gradcamToOurs));
  return `Geometric mean over ${atEight.length} models, B=8: ${mean.toFixed(2)} times as fast as pytorch-grad-cam.`;
}

function extraRows({ extras }) {
  if (!extras) return [];
  const { firstCall, fiveClasses, callers, growth, peakMemory } = extras;
  return [
    ...Object.entries(firstCall).map(([batch, { first, steady, ratio }]) => [
      `first call / steady call, B=${batch}`,
      `${figure(ratio)} (${figure(first, 0)} ms / ${figure(steady, 0)} ms)`,
    ]),
    ['5 classes of one image / 1 class', figure(fiveClasses.ratio, 3)],
    [
      '32 callers / direct batches of 8',
      `${figure(callers.ratio)} (${figure(callers.concurrent, 1)} / ${figure(callers.direct, 1)} images/s)`,
    ],
    ['event-loop delay p99 while busy', `${figure(callers.eventLoopP99, 1)} ms`],
    [
      'memory, explain 100 to 2000',
      `${figure(growth.first, 0)} to ${figure(growth.last, 0)} MiB (${figure((growth.last / growth.first - 1) * 100, 1)} %)`,
    ],
    ...Object.entries(peakMemory).map(([batch, { forward, plain, ours, ratio }]) => [
      `peak memory, B=${batch}: explain / forward`,
      `${figure(ratio)} (${figure(ours, 0)} / ${figure(forward, 0)} MiB; not optimized ${figure(plain, 0)})`,
    ]),
  ];
}

export function terminalTable(results) {
  const lines = [];
  if (results.timings.length > 0) {
    const rows = rowsOf(results);
    const widths = columns.map((_, column) => Math.max(...rows.map((row) => row[column].length)));
    for (const row of rows) {
      lines.push(
        row
          .map((cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column])))
          .join('  '),
      );
    }
    lines.push(
      '',
      'ours, eager: ms per image. grad-cam, torch-cam, Captum: their time / ours.',
      summary(results),
    );
  }
  for (const [name, value] of extraRows(results)) lines.push(`${name.padEnd(42)} ${value}`);
  return lines.join('\n');
}

export function markdown(results) {
  const { machine } = results;
  const lines = [
    `Measured on ${machine.date}: ${machine.processor}, ${machine.cores} cores (${machine.cpuCapability}), ` +
      `${machine.memoryGiB} GiB, ${machine.system}, Node ${machine.node}, LibTorch ${machine.libtorch}, Python ` +
      `${machine.python} with torch ${machine.torch}, ${machine.threads} threads on each side, load average ` +
      `${machine.loadAverage.join(' ')} before.`,
    '',
  ];
  const table = ([head, ...rows]) => {
    lines.push(`| ${head.join(' | ')} |`, `|${head.map((_, i) => (i === 0 ? '---' : '---:')).join('|')}|`);
    for (const row of rows) lines.push(`| ${row.join(' | ')} |`);
    lines.push('');
  };
  if (results.timings.length > 0) {
    table(rowsOf(results));
    lines.push(summary(results), '');
  }
  if (results.extras) table([['ResNet-50, layer4', 'figure'], ...extraRows(results)]);
  return lines.join('\n');
}
