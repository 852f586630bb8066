import { availableParallelism, totalmem } from 'node:os';

/**
 * How many processes may run at once: one for each core, as far as the memory (the machine's, or the container's limit) goes.
 * @param {number} gibibytes what one of them takes at its peak
 * @returns {number} at least 1
 */
export function jobsAtOnce(
  gibibytes,
  {
    cores = availableParallelism(),
    memory = Math.min(totalmem(), process.constrainedMemory?.() || Number.POSITIVE_INFINITY),
  } = {},
) {
  return Math.max(1, Math.min(cores, Math.floor(memory / (gibibytes * 1024 ** 3))));
}
