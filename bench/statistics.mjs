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

/** The plain one, to see beside the paired one: where they are far apart, the machine was not quiet. */
export function ratioOfMedians(numerators, denominators) {
  if (numerators.length === 0 || denominators.length === 0) return null;
  return median(numerators) / median(denominators);
}

export function geometricMean(values) {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}
