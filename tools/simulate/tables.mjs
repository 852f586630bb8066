import { figure } from '../../bench/statistics.mjs';

/** Rows of texts under their heads, in columns; numbers stand to the right. */
export function table(heads, rows) {
  const all = [heads, ...rows.map((row) => row.map(String))];
  const widths = heads.map((_, column) => Math.max(...all.map((row) => row[column].length)));
  const isNumber = heads.map((_, column) =>
    rows.every((row) => /^([\d.,]+.*|-|)$/.test(String(row[column]))),
  );
  return all
    .map((row) =>
      row
        .map((cell, column) =>
          isNumber[column] ? cell.padStart(widths[column]) : cell.padEnd(widths[column]),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

const percent = (share, digits = 0) => (Number.isFinite(share) ? `${figure(share * 100, digits)} %` : '-');
const milliseconds = (value) => figure(value, value < 100 ? 1 : 0);

const settingsOf = ({ executors, threads }) => `${executors} x ${threads ?? '?'}`;

/** The rows of a search, and what they say. */
export function searchReport(rows, { rate, p99 }) {
  const heads = [
    '',
    'executors x threads',
    'batch',
    'one does',
    'replicas',
    'cores',
    'pending',
    'p50, ms',
    'p99, ms',
    'in time',
    'busy',
    'mean batch',
  ];
  const lines = rows.map((row) => [
    row.chosen ? '->' : '',
    settingsOf(row.times),
    row.maxBatch,
    `${figure(row.perSecond, 1)}/s`,
    row.replicas ?? '-',
    row.replicas === null ? '-' : row.replicas * row.cores,
    row.maxPending,
    milliseconds(row.p50),
    milliseconds(row.p99),
    percent(row.shareInTime, 1),
    percent(row.utilisation),
    figure(row.meanBatch, 1),
  ]);
  const chosen = rows.find((row) => row.chosen);
  const { executors, threads } = chosen?.times ?? {};
  const says = chosen
    ? `${chosen.replicas} replica${chosen.replicas === 1 ? '' : 's'} of: gradcam serve --executors ${executors}${threads ? ` --threads ${threads}` : ''} --max-batch ${chosen.maxBatch} --max-pending ${chosen.maxPending}`
    : `Nothing that was tried answers 99 of 100 of ${rate} requests a second within ${p99} ms.`;
  return `${table(heads, lines)}\n\n${says}`;
}

/** What a batch takes with some numbers of workers. */
export function batchReport(rows) {
  const heads = ['workers', 'hours', 'images/s', 'busy', 'retries', 'lost', 'chunks failed', 'Redis, MiB'];
  const lines = rows.map((row) => [
    row.workers,
    figure(row.milliseconds / 3_600_000, 2),
    figure((row.images / row.milliseconds) * 1000, 1),
    percent(row.utilisation, 1),
    row.retries,
    row.losses,
    row.failed,
    figure(row.redisBytes / 1024 ** 2, 1),
  ]);
  return table(heads, lines);
}

/** The simulation beside the real server. */
export function checkReport({ rows, full }, within) {
  const heads = [
    'load',
    'a second',
    'answers',
    'p50, ms',
    'simulated',
    '',
    'p99, ms',
    'simulated',
    '',
    'refused',
    'errors',
    'others',
  ];
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const lines = rows.map(({ share, rates, real, simulated, refused, errors, others }) => [
    percent(share),
    figure(mean(rates), 1),
    real.count,
    ...['p50', 'p99'].flatMap((name) => [
      milliseconds(real[name]),
      milliseconds(simulated[name]),
      difference(simulated[name] / real[name] - 1, within),
    ]),
    refused,
    errors,
    percent(others),
  ]);
  const rates = full.real.map(
    (rate, round) => `${figure(rate, 1)} (simulated ${figure(full.simulated[round], 1)})`,
  );
  return `${table(heads, lines)}\n\nAt full load, in each round: ${rates.join(', ')} images a second.`;
}

const difference = (relative, within) =>
  `${relative < 0 ? '-' : '+'}${percent(Math.abs(relative))}${Math.abs(relative) > within ? ' !' : ''}`;
