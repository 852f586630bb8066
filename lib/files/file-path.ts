import { fileURLToPath } from 'node:url';
import { invalidArgumentType } from '../errors/errors.js';

/**
 * Where a path is taken, a `file:` URL as the path that it means; everything else as it is, for whoever asks to check.
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE` for a URL of another kind, or of another machine
 * @internal
 */
export function filePath<T>(given: T, name = 'path'): Exclude<T, URL> | string {
  if (!(given instanceof URL)) return given as Exclude<T, URL>;
  try {
    return fileURLToPath(given);
  } catch {
    throw invalidArgumentType(name, 'a path or a file: URL of this machine', given.href);
  }
}
