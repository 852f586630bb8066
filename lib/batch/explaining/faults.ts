/** These say that a chunk cannot be done here; elsewhere it may. */
const faultsOfPlace = new Set([
  'ERR_ADDON_LOAD',
  'ERR_BATCH_FOLDER',
  'ERR_BATCH_MODEL',
  'ERR_BATCH_VERSION',
  'ERR_CUDA_FAILED',
  'ERR_CUDA_UNAVAILABLE',
  'ERR_MODEL_LOAD',
  'ERR_MODEL_NOT_FOUND',
]);
/** These may be gone next time. */
const passingFaults = new Set(['ERR_OUT_OF_MEMORY', 'ERR_BUSY', 'ERR_DISPOSED', 'ERR_INTERNAL']);

/**
 * Whether a chunk failed because of where it was tried, for a reason that may be gone next time, or for one that will not:
 * a wrong layer or class is as wrong again.
 */
export function faultOf(error: unknown): 'place' | 'passing' | 'lasting' {
  const { code } = error as { code?: unknown };
  if (typeof code !== 'string') return 'passing';
  if (faultsOfPlace.has(code)) return 'place';
  return code.startsWith('ERR_') && !passingFaults.has(code) ? 'lasting' : 'passing';
}

/** What is told of a chunk that failed. */
export function reasonOf(error: unknown): string {
  const { code, message } = error as Error & { code?: unknown };
  return typeof code === 'string' && code.startsWith('ERR_') ? `${message} (${code})` : message;
}
