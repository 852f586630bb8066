import { callNativeAsync } from '../addon/addon.js';
import { argumentOutOfRange, invalidArgumentType } from '../errors/errors.js';
import { checkBoolean, checkSignal, readOptions } from '../errors/options.js';
import { filePath } from '../files/file-path.js';
import { placeWholeFile } from '../files/whole-file.js';
import { checkLibraries } from './load-model.js';

export interface ConvertModelOptions {
  /** As for {@link loadModel}. Default: none. */
  readonly libraries?: readonly (string | URL)[];
  /** Default true; false refuses where there is a file already. */
  readonly overwrite?: boolean;
  /** Stops waiting for the file. */
  readonly signal?: AbortSignal;
}

/**
 * Writes an exported program (.pt2) as a TorchScript file, with the same layers, weights and results, for programs with LibTorch that
 * load nothing else: Triton, C++, older PyTorch. Tensors that the program takes in tuples or dictionaries are parameters of their
 * own there. The file is there whole or not at all; one that was there is replaced.
 * @param file - the program's path, or a `file:` URL
 * @param to - the path of the file to write
 * @throws {GradCamError} `ERR_MODEL_NOT_FOUND`, `ERR_MODEL_LOAD` (also for a file that is TorchScript
 *   already), `ERR_UNSUPPORTED`, `ERR_MISSING_OPERATOR`, `ERR_OPERATOR_LIBRARY`, `ERR_OUT_OF_MEMORY`, `ERR_ADDON_LOAD`
 * @throws {NodeJS.ErrnoException} of a file that cannot be written; `EEXIST` for one that is there and must not be overwritten
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, `ERR_UNKNOWN_OPTION`
 * @example await convertModel('resnet50.pt2', 'resnet50.pt');
 */
export async function convertModel(
  file: string | URL,
  to: string | URL,
  options?: ConvertModelOptions,
): Promise<void> {
  const [from, target] = [filePath(file), filePath(to)].map((path, index) => {
    const name = index === 0 ? 'file' : 'to';
    if (typeof path !== 'string' || path === '') throw invalidArgumentType(name, 'a path', path);
    if (path.includes('\0')) throw argumentOutOfRange(name, 'a path without null characters', path);
    return path;
  }) as [string, string];
  const given = readOptions<ConvertModelOptions>('convertModel options', options, [
    'libraries',
    'overwrite',
    'signal',
  ]);
  const libraries = checkLibraries(given.libraries);
  const overwrite = checkBoolean('overwrite', given.overwrite, true);
  const signal = checkSignal(given.signal);
  await placeWholeFile(
    target,
    (unfinished) =>
      callNativeAsync(signal, (module, cancellation) =>
        module.convertModel(from, { to: unfinished, libraries }, cancellation),
      ),
    { overwrite },
  );
}
