export function median(values) {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** The tenth and ninetieth percentile. */
export function spread(values) {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share) => sorted[Math.round(share * (sorted.length - 1))];
  return [at(0.1), at(0.9)];
}

/** The median of the ratios of each round: what slows a whole round down cancels out. */
export function pairedRatio(numerators, denominators) {
  const rounds = Math.min(numerators.length, denominators.length);
  return median(Array.from({ length: rounds }, (_, round) => numerators[round] / denominators[round]));
}

/**
 * Of each round the least that any of them took. Who fails is left out from then on, so that the rounds of `times` are its
 * first ones.
 */
export function fastestByRound(times) {
  const rounds = Math.max(0, ...times.map(({ length }) => length));
  return Array.from({ length: rounds }, (_, round) =>
    Math.min(...times.filter(({ length }) => length > round).map((ofOne) => ofOne[round])),
  );
}

/** The name of the one with the smallest median; null where none was measured. */
export function fastestOf(medians, names) {
  const known = names.filter((name) => medians[name] !== null && medians[name] !== undefined);
  return known.reduce((best, name) => (best === null || medians[name] < medians[best] ? name : best), null);
}

/** The plain one, to see beside the paired one: where they are far apart, the machine was not quiet. */
export function ratioOfMedians(numerators, denominators) {
  if (numerators.length === 0 || denominators.length === 0) return null;
  return median(numerators) / median(denominators);
}

export function geometricMean(values) {
  if (values.length === 0) return null;
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

/** As people read it; what could not be measured is a dash. */
export const figure = (value, digits = 2) => (Number.isFinite(value) ? value.toFixed(digits) : '-');
