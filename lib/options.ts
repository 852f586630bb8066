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
  if (options === undefined) return {} as T;
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw invalidArgumentType(name, 'an object', options);
  }
  const unknown = Object.keys(options).find((key) => !(known as readonly string[]).includes(key));
  if (unknown !== undefined) {
    const error = new TypeError(
      `Unknown option '${unknown}' in ${name}. The options are: ${known.join(', ')}.`,
    );
    throw Object.assign(error, { code: 'ERR_UNKNOWN_OPTION' });
  }
  return { ...options } as T;
}

/** @internal */
export function checkSignal(signal: unknown): AbortSignal | undefined {
  if (signal === undefined || signal instanceof AbortSignal) return signal;
  throw invalidArgumentType('signal', 'an AbortSignal', signal);
}
