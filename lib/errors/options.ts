import { invalidArgumentType } from './errors.js';

/**
 * The options as a plain copy, with unknown names refused: a misspelt option that is silently ignored is worse than an
 * error. Reading each once also keeps getters from giving two answers.
 * @internal
 */
export function readOptions<T extends object>(
  name: string,
  options: unknown,
  known: readonly (keyof T & string)[],
): T {
  const copy = ownOptions((options === undefined ? {} : options) as T, name);
  const unknown = Object.keys(copy).find((key) => !(known as readonly string[]).includes(key));
  if (unknown !== undefined) {
    const error = new TypeError(
      `Unknown option '${unknown}' in ${name}. ${known.length === 0 ? 'There are none.' : `The options are: ${known.join(', ')}.`}`,
    );
    throw Object.assign(error, { code: 'ERR_UNKNOWN_OPTION' });
  }
  return copy;
}

/**
 * A copy of the options that holds what they hold themselves: an option must not come from what a program put on
 * Object.prototype.
 * @internal
 */
export function ownOptions<T extends object>(options: T, name = 'options'): T {
  if (typeof options !== 'object' || options === null || Array.isArray(options))
    throw invalidArgumentType(name, 'an object', options);
  return Object.assign(Object.create(null), options);
}

/** @internal */
export function checkBoolean(name: string, value: unknown, otherwise: boolean): boolean {
  if (value === undefined) return otherwise;
  if (typeof value === 'boolean') return value;
  throw invalidArgumentType(name, 'a boolean', value);
}

/** @internal */
export function checkSignal(signal: unknown): AbortSignal | undefined {
  if (signal === undefined || signal instanceof AbortSignal) return signal;
  throw invalidArgumentType('signal', 'an AbortSignal', signal);
}

/**
 * Aborts the controller when one of the signals does, until the function that is returned is called. Unlike with
 * `AbortSignal.any()`, a signal that lives long then remembers nothing of it.
 * @internal
 */
export function abortWith(
  controller: AbortController,
  ...signals: readonly (AbortSignal | undefined)[]
): () => void {
  const links = signals.map((signal) => {
    const forward = () => controller.abort(signal?.reason);
    if (signal?.aborted) forward();
    signal?.addEventListener('abort', forward, { once: true });
    return () => signal?.removeEventListener('abort', forward);
  });
  return () => {
    for (const unlink of links) unlink();
  };
}

/**
 * The outcome of `start()`, or, as soon as the signal aborts, a rejection with its reason. What was started is told of it
 * by the function given to `onAbort`; what comes of it then is ignored.
 * @internal
 */
export async function unlessAborted<T>(
  signal: AbortSignal | undefined,
  start: (onAbort: (stop: () => void) => void) => Promise<T>,
): Promise<T> {
  if (signal === undefined) return await start(() => {}); // so that stacks lead to the caller
  signal.throwIfAborted();
  let stop = () => {};
  let rejectAborted: (reason: unknown) => void = () => {};
  const aborted = new Promise<never>((_, reject) => {
    rejectAborted = reject;
  });
  aborted.catch(() => {});
  const listener = () => {
    stop();
    rejectAborted(signal.reason);
  };
  signal.addEventListener('abort', listener, { once: true });
  try {
    const work = start((how) => {
      stop = how;
    });
    work.catch(() => {});
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', listener);
  }
}
