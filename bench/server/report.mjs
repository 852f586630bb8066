import { median } from '../statistics.mjs';

const number = (value, digits = 1) => (value === null || value === undefined ? '' : value.toFixed(digits));

/** The results as a page; what was not measured is left out. */
export function markdown({ machine, difference, rounds, ratios, halfLoad, overload, soak }) {
  const lines = [
    '# The explain server under load',
    '',
    `${machine.processor}, ${machine.cores} cores, LibTorch ${machine.libtorch}, Node ${machine.node}, ` +
      `${machine.threads} threads each, ${machine.date.slice(0, 10)}; load average ${machine.loadAverageBefore[0]} ` +
      `before, ${machine.loadAverageAfter?.[0]} after.`,
    '',
    'ResNet-50 at layer4, one image of 224 x 224 a request, float32 tensors in and out. The load generator runs on the',
    `same cores. The maps of both servers differ by ${difference.toExponential(0)}.`,
  ];
  if (rounds) {
    const of = (side, connections, field) =>
      median(rounds.map((turn) => turn[side][connections]?.[field] ?? Number.NaN));
    lines.push(
      '',
      `Direct batches of eight: ${number(median(rounds.map(({ direct }) => direct)))} images a second.`,
      '',
      '| connections | images a second | p50, ms | p99, ms | errors | Python: images a second | p50, ms | p99, ms |',
      '| --- | --- | --- | --- | --- | --- | --- | --- |',
    );
    for (const connections of Object.keys(rounds[0].ours)) {
      const errors = rounds.reduce((sum, turn) => sum + turn.ours[connections].errors, 0);
      const ours = ['perSecond', 'p50', 'p99'].map((field) =>
        number(of('ours', connections, field), field === 'perSecond' ? 1 : 0),
      );
      const theirs = rounds[0].python[connections]
        ? ['perSecond', 'p50', 'p99'].map((field) =>
            number(of('python', connections, field), field === 'perSecond' ? 1 : 0),
          )
        : ['', '', ''];
      lines.push(`| ${connections} | ${ours.join(' | ')} | ${errors} | ${theirs.join(' | ')} |`);
    }
  }
  if (ratios) {
    lines.push(
      '',
      `With 32 connections, medians of each round's ratio: **${number(ratios.ofDirect, 2)}** of direct batches, ` +
        `**${number(ratios.ofPython, 1)} times** the Python server (${number(ratios.ofPythonAlone, 1)} with one connection).`,
    );
  }
  for (const { spacing, rate, p99, ratio, single, errors } of Object.values(halfLoad ?? {})) {
    const how = spacing === 'even' ? 'evenly spaced' : 'at random (Poisson)';
    lines.push(
      '',
      `At half that load (${number(rate)} a second), ${how}: p99 ${number(p99, 0)} ms, **${number(ratio, 2)} times** the ` +
        `${number(single, 0)} ms of a request alone; ${errors} errors.`,
    );
  }
  if (overload) {
    lines.push(
      '',
      `At three times that load (${number(overload.rate)} a second, at random), with room for ${overload.maxPending} images: ` +
        `${number(overload.perSecond)} a second accepted, p50 ${number(overload.p50, 0)} ms, p99 ${number(overload.p99, 0)} ms, ` +
        `longest ${number(overload.longest, 0)} ms; ${overload.refused.count} refused with 503, p50 ` +
        `${number(overload.refused.p50)} ms, p99 ${number(overload.refused.p99)} ms; ${overload.errors} errors.`,
    );
  }
  if (soak) {
    lines.push(
      '',
      `Kept busy by 32 connections for ${soak.seconds} s: ${soak.count} answers, ${soak.errors} errors; resident memory ` +
        `${number(soak.firstHalf, 0)} MiB in the first half, ${number(soak.secondHalf, 0)} MiB in the second.`,
    );
  }
  return `${lines.join('\n')}\n`;
}
