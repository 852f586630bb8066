import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { rootUrl } from '../helpers/root.js';

// What the benchmark makes of times, and what it adds to results that are there.

const { fastestByRound, fastestOf } = await import(rootUrl('bench/statistics.mjs'));
const { ratiosOf } = await import(rootUrl('bench/timings.mjs'));
const { cpuContestants } = await import(rootUrl('bench/contestants.mjs'));
const { continueResults, isMeasured, readResults, withCell, writeResults } = await import(
  rootUrl('bench/results.mjs')
);
const { markdown, terminalTable } = await import(rootUrl('bench/report.mjs'));

type Times = Record<string, number[]>;
type Cell = { isa: string; label: string; batch: number; error?: string };

const machine = {
  date: '2026-01-02T00:00:00.000Z',
  processor: 'A CPU',
  cores: 2,
  cpuCapability: 'AVX512',
  memoryGiB: 8,
  system: 'Linux 6',
  libtorch: '2.13.0',
  node: 'v20.19.0',
  python: '3.12.0',
  threads: 2,
  packages: { torch: '2.13.0', captum: '0.9.0' },
};
const settings = { rounds: 6, peerRounds: 2 };
const start = () => continueResults(null, { machine, settings });

const noTimes = (): Times => Object.fromEntries(cpuContestants.map((name: string) => [name, []]));

test('the fastest prediction is that of each round, whoever it was', (t) => {
  const times = { ...noTimes(), ours: [10, 20, 30], onnxruntime: [5, 40, 10], openvino: [10, 10, 20] };
  t.deepEqual(fastestByRound([times.onnxruntime, times.openvino]), [5, 10, 10]);
  t.is(ratiosOf(times).oursToPrediction, 2, 'the median of 2, 2 and 3');
  t.is(ratiosOf({ ...times, ours: [10, 90, 30] }).oursToPrediction, 3);
});

test('a prediction that failed is left out from then on, and without any there is no ratio', (t) => {
  const times = { ...noTimes(), ours: [10, 20, 30], openvino: [10, 10, 10] };
  t.deepEqual(fastestByRound([[5], times.openvino]), [5, 10, 10]);
  t.is(ratiosOf(times).oursToPrediction, 2);
  t.is(ratiosOf({ ...noTimes(), ours: [10] }).oursToPrediction, null);
  t.is(fastestOf({ onnxruntime: null, openvino: 3 }, ['onnxruntime', 'openvino']), 'openvino');
  t.is(fastestOf({ onnxruntime: 2, openvino: 3 }, ['onnxruntime', 'openvino']), 'onnxruntime');
  t.is(fastestOf({ onnxruntime: null }, ['onnxruntime', 'openvino']), null);
});

test("our forward is held against the fastest of LibTorch's forms in the same round", (t) => {
  const times = { ...noTimes(), forward: [6, 6], torchscript: [12, 2], frozen: [3, 8], optimized: [9, 9] };
  t.is(ratiosOf(times).forwardToLibTorch, (6 / 3 + 6 / 2) / 2);
});

test('a cell takes the place of the one it repeats, and stands where its model, batch and instructions say', (t) => {
  const labels = ['first', 'second'];
  const cell = (isa: string, label: string, batch: number, more = {}) => ({ isa, label, batch, ...more });
  let cells: Cell[] = [];
  for (const added of [
    cell('avx2', 'first', 8),
    cell('native', 'second', 1),
    cell('native', 'first', 32),
    cell('native', 'first', 8, { error: 'it died' }),
  ])
    cells = withCell(cells, added, labels);
  t.deepEqual(
    cells.map(({ isa, label, batch }) => `${isa} ${label} ${batch}`),
    ['native first 8', 'native first 32', 'native second 1', 'avx2 first 8'],
  );
  t.false(isMeasured(cells, cell('native', 'first', 8)), 'one that failed is measured again');
  t.false(isMeasured(cells, cell('native', 'second', 8)));
  t.true(isMeasured(cells, cell('avx2', 'first', 8)));
  t.false(isMeasured(cells, cell('avx2', 'second', 1)), 'AVX2 does not count as native');
  cells = withCell(cells, cell('native', 'first', 8, { date: 'now' }), labels);
  t.is(cells.length, 4);
  t.true(isMeasured(cells, cell('native', 'first', 8)));
});

test('a run goes on where another one of the same machine stopped', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'bench-results-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'results.json');
  writeFileSync(path, 'an older file');
  writeResults(path, { ...start(), timings: [{ isa: 'native', label: 'first', batch: 1 }] });
  t.deepEqual(readdirSync(folder), ['results.json'], 'nothing is left of its writing');
  t.notThrows(() => JSON.parse(readFileSync(path, 'utf8')));
  const packages = { torch: '2.13.0', openvino: '1.0' };
  const gone = continueResults(readResults(path), {
    machine: { ...machine, packages, system: 'Linux 7' },
    settings,
  });
  t.is(gone.timings.length, 1);
  t.deepEqual(gone.machine.packages, { torch: '2.13.0', captum: '0.9.0', openvino: '1.0' });
});

for (const [what, changed, told] of [
  ['processor', { processor: 'Another CPU' }, /the processor was A CPU and is Another CPU/],
  ['LibTorch', { libtorch: '2.12.1' }, /LibTorch was 2\.13\.0 and is 2\.12\.1/],
  ['number of threads', { threads: 4 }, /the number of threads was 2 and is 4/],
  ['instruction set', { cpuCapability: 'AVX2' }, /the instruction set was AVX512 and is AVX2/],
  ['package', { packages: { torch: '2.12.0' } }, /the package torch was 2\.13\.0 and is 2\.12\.0/],
] as const) {
  test(`results of another ${what} are not added to`, (t) => {
    t.throws(() => continueResults(start(), { machine: { ...machine, ...changed }, settings }), {
      message: told,
    });
  });
}

test('results of other rounds, or of an older benchmark, are not added to', (t) => {
  t.throws(() => continueResults(start(), { machine, settings: { ...settings, rounds: 2 } }), {
    message: /--rounds was 6 and is 2/,
  });
  t.throws(() => continueResults({ machine, timings: [] }, { machine, settings }), {
    message: /another version of the benchmark/,
  });
});

/** A cell as it is measured, each contestant `step` ms slower than the one before it. */
function measuredCell(
  more: { isa: string; label: string; model: string; batch: number },
  absent: string[] = [],
) {
  const times: Times = Object.fromEntries(
    cpuContestants.map((name: string, index: number) =>
      absent.includes(name) ? [name, []] : [name, [1000 + index * 100]],
    ),
  );
  const one = (name: string) => times[name]?.[0] ?? null;
  const each = <Value>(read: (name: string) => Value) =>
    Object.fromEntries(cpuContestants.map((name: string) => [name, read(name)]));
  return {
    ...more,
    addon: 'abc',
    times,
    failures: Object.fromEntries(absent.map((name) => [name, 'is not installed'])),
    medians: each(one),
    spread: each((name) => [one(name), one(name)]),
    fastestPrediction: fastestOf(each(one), ['onnxruntime', 'openvino']),
    differences: { ours: 1e-6, plain: 1e-6, outputs: 1e-6 },
    differing: [] as string[],
    ratios: ratiosOf(times),
    ratiosOfMedians: {},
  };
}

const run = { isa: 'native', date: machine.date, loadAverageBefore: [0, 0, 0] };
const large = { isa: 'native', label: 'mobilenet_v3_large', model: 'mobilenet_v3_large', batch: 32 };
const early = { ...large, label: 'resnet50 layer3', model: 'resnet50', batch: 1 };
const resultsOf = (timings: object[]) => ({ ...start(), runs: [run], timings });

test('the terminal shows both tables in 80 columns', (t) => {
  const lines = terminalTable(
    resultsOf([
      measuredCell(large),
      measuredCell({ ...large, label: 'vit', model: 'vit' }),
      measuredCell(early),
    ]),
  ).split('\n');
  t.deepEqual(
    lines.filter((line: string) => line.length > 80),
    [],
  );
  const row = lines.find((line: string) => line.startsWith('mobilenet_v3_large'));
  t.regex(row, /^mobilenet_v3_large +32 +46\.9 +31\.3 +62\.5 ORT +1\.50 +0\.75 +1\.55$/);
  t.true(lines.some((line: string) => line.startsWith('geometric mean (2) 32')));
});

test('a runtime that was missing, and values that differ, are told', (t) => {
  const without = measuredCell(large, ['onnxruntime']);
  const differing = { ...measuredCell(early, ['onnxruntime']), differing: ['openvino'] };
  Object.assign(differing.differences, { openvino: 0.25 });
  for (const text of [
    terminalTable(resultsOf([without, differing])),
    markdown(resultsOf([without, differing])),
  ]) {
    t.regex(text, /ONNX Runtime: is not installed$/m);
    t.regex(text, /resnet50 layer3 B=1: outputs of OpenVINO differ by 3e-1/);
    t.regex(text, /resnet50 layer3.* !1e-6/);
  }
});

test('AVX2 has tables of its own, without the runtimes that cannot be kept to it', (t) => {
  const limited = measuredCell({ ...large, isa: 'avx2' }, ['onnxruntime', 'openvino']);
  const [, native, avx2] = markdown(resultsOf([measuredCell(large), limited])).split(/^## /m);
  t.true(native.includes('| ours/fastest |'));
  t.true(avx2.startsWith('AVX2 only'));
  t.false(avx2.includes('| ours/fastest |'));
  t.true(avx2.includes('| ours/eager |'));
});
