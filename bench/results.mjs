import { readFileSync, renameSync, writeFileSync } from 'node:fs';

/** Of results.json: files of another form are not added to. */
const format = 2;

/** What has to be the same of all that stands in one file; packages only where both runs have them. */
const sameMachine = {
  processor: 'the processor',
  cores: 'the number of cores',
  cpuCapability: 'the instruction set',
  libtorch: 'LibTorch',
  node: 'Node',
  python: 'Python',
  threads: 'the number of threads',
};
const sameSettings = { rounds: '--rounds', peerRounds: '--peer-rounds' };

export const readResults = (path) => JSON.parse(readFileSync(path, 'utf8'));

/** In one step, so that the file is whole whenever the run is stopped. */
export function writeResults(path, results) {
  writeFileSync(`${path}.new`, `${JSON.stringify(results, null, 2)}\n`);
  renameSync(`${path}.new`, path);
}

/**
 * Where a run goes on from: what an earlier one left, or nothing. Throws where what is there was measured on another
 * machine or in another way, as figures of both in one table could not be compared.
 */
export function continueResults(found, { machine, settings }) {
  if (!found) return { format, machine, settings, runs: [], timings: [], extras: {}, methods: {} };
  if (found.format !== format) throw new Error('It was written by another version of the benchmark.');
  const other = [
    ...differing(sameMachine, found.machine, machine),
    ...differing(sameSettings, found.settings, settings),
    ...Object.entries(machine.packages)
      .filter(([name, version]) => (found.machine.packages[name] ?? version) !== version)
      .map(([name, version]) => `the package ${name} was ${found.machine.packages[name]} and is ${version}`),
  ];
  if (other.length > 0) throw new Error(`It was measured otherwise: ${other.join('; ')}.`);
  return { ...found, machine: { ...machine, packages: { ...found.machine.packages, ...machine.packages } } };
}

function differing(fields, before, now) {
  return Object.entries(fields)
    .filter(([field]) => before[field] !== now[field])
    .map(([field, title]) => `${title} was ${before[field]} and is ${now[field]}`);
}

const isSame = (one, other) =>
  one.isa === other.isa && one.label === other.label && one.batch === other.batch;

/** True of a cell that was finished; one that failed has not been. */
export const isMeasured = (cells, cell) => cells.some((other) => isSame(other, cell) && !other.error);

/** The cells with this one, instead of an older one of the same kind; by instruction set, in the order of `labels`. */
export function withCell(cells, cell, labels) {
  const place = ({ isa, label, batch }) => [isa === 'native' ? 0 : 1, labels.indexOf(label), batch];
  const byPlace = (a, b) => {
    const [one, other] = [place(a), place(b)];
    return one.map((value, index) => value - other[index]).find((difference) => difference !== 0) ?? 0;
  };
  return [...cells.filter((other) => !isSame(other, cell)), cell].sort(byPlace);
}
