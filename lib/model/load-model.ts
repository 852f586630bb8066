import { callNativeAsync, type DType, type NativeLoadOptions, type NativeModel } from '../addon/addon.js';
import { findTorchvision, missingOperator, type TorchvisionLibrary } from '../addon/operator-libraries.js';
import { argumentOutOfRange, GradCamError, invalidArgumentType } from '../errors/errors.js';
import { checkBoolean, checkSignal, readOptions } from '../errors/options.js';
import { filePath } from '../files/file-path.js';
import { checkArguments, type ModelArguments } from './arguments.js';
import { debug } from './diagnostics.js';
import { withFileChecks } from './file-checks.js';
import { Model } from './model.js';

/** Where a model runs. `'auto'` takes the first CUDA device if there is one, else the CPU. */
export type Device = 'cpu' | 'cuda' | `cuda:${number}` | 'auto';

/** How a file is loaded in a process of its own first. */
export interface PreflightOptions {
  /** Milliseconds that the process may take, its start included: 1 to 2147483647. Default 60000. */
  readonly timeout?: number;
}

export interface LoadModelOptions {
  /** Default `'cpu'`. */
  readonly device?: Device;
  /**
   * Cast the floating-point weights. Default `'auto'`: as stored, but float16 becomes float32 on the CPU, which has no
   * fast half-precision arithmetic.
   */
  readonly dtype?: 'auto' | 'float16' | 'bfloat16' | 'float32' | 'float64';
  /**
   * On a CPU with AVX512-BF16 or AMX: `'bfloat16'` multiplies in bfloat16, with 8 bits of mantissa, where no gradient is
   * needed: in front of the target layers, and throughout in `forward()` and methods without gradients. About twice as
   * fast; heatmaps of values 0 to 1 then differ by some hundredths (docs/performance.md). From the target layer on, gradients
   * and maps stay float32, as do operations that are not known to take it. Where a model writes in place to what a convolution
   * gave, all of it stays float32, which `describePlan().precision` tells. Default `'float32'`.
   */
  readonly precision?: 'float32' | 'bfloat16';
  /**
   * On a GPU: multiply float32 on tensor cores with 10 bits of mantissa instead of 23 (TensorFloat-32). Faster, but maps
   * then differ from the CPU's by some 1e-3. Default false. Calls on models that differ in this take turns, since LibTorch
   * keeps one setting for the process.
   */
  readonly tf32?: boolean;
  /**
   * On a GPU: let cuDNN try its algorithms on each new input shape, which takes seconds once, and use the fastest. For
   * inputs of few shapes. Default false. Calls on models that differ in this take turns.
   */
  readonly cudnnBenchmark?: boolean;
  /**
   * For the parameters of the model's methods that a call's own `arguments` leave out; before the model's own defaults.
   * Each must be a parameter of one of the methods, and fit its type. Default: none.
   */
  readonly arguments?: ModelArguments;
  /**
   * Libraries of custom operators that the model uses: paths of files or `file:` URLs, loaded before it, once for the whole process. They
   * are code: load only those you trust. torchvision's is found by itself, see docs/segmentation-and-detection.md.
   */
  readonly libraries?: readonly (string | URL)[];
  /**
   * The SHA-256 of the file, as 64 hexadecimal digits. Where it is another, nothing is loaded and the error is
   * `ERR_MODEL_CHECKSUM`. Default: not checked.
   */
  readonly sha256?: string;
  /**
   * Load the file in a process of its own first: a damaged file that crashes LibTorch's loader then gives
   * `ERR_MODEL_LOAD`, and this process goes on. So does one on which the loader does not come to an end. Takes about a
   * second and twice the time to load. Default false.
   */
  readonly preflight?: boolean | PreflightOptions;
  /** Stops waiting for the model. */
  readonly signal?: AbortSignal;
}

/**
 * Loads an exported program (`torch.export.save`, .pt2) or a TorchScript file (`torch.jit.script` or `torch.jit.trace`, then
 * `.save`) on a thread of the library's own, in eval mode. What the file is, is read from it, not from its name. Either holds
 * operations that then run: load only files you trust. Tensors that a program takes in tuples or dictionaries are inputs in their
 * order; numbers and texts that it was exported with are part of it.
 * @param file - its path, or a `file:` URL
 * @throws {GradCamError} `ERR_MODEL_NOT_FOUND`, `ERR_MODEL_LOAD`, `ERR_MODEL_CHECKSUM`, `ERR_MODEL_ARGUMENTS`,
 *   `ERR_MISSING_OPERATOR`, `ERR_OPERATOR_LIBRARY`, `ERR_CUDA_UNAVAILABLE`, `ERR_CUDA_FAILED`,
 *   `ERR_UNSUPPORTED` for a precision that the processor or the model does not have, `ERR_OUT_OF_MEMORY`, `ERR_ADDON_LOAD`
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, `ERR_UNKNOWN_OPTION`
 * @example await using model = await loadModel('resnet50.pt', { device: 'auto' });
 */
export async function loadModel(file: string | URL, options?: LoadModelOptions): Promise<Model> {
  const path = filePath(file);
  if (typeof path !== 'string') throw invalidArgumentType('path', 'a string', path);
  if (path.includes('\0')) throw argumentOutOfRange('path', 'a path without null characters', path);
  const given = readOptions<LoadModelOptions>('loadModel options', options, [
    'device',
    'dtype',
    'precision',
    'tf32',
    'cudnnBenchmark',
    'arguments',
    'libraries',
    'sha256',
    'preflight',
    'signal',
  ]);
  const device = checkDevice(given.device ?? 'cpu');
  const dtype = checkDType(given.dtype ?? 'auto');
  const precision = checkPrecision(given.precision ?? 'float32');
  const tf32 = checkBoolean('tf32', given.tf32, false);
  const cudnnBenchmark = checkBoolean('cudnnBenchmark', given.cudnnBenchmark, false);
  const signal = checkSignal(given.signal);
  const libraries = checkLibraries(given.libraries);
  const started = performance.now();
  const how = {
    device,
    dtype,
    libraries,
    precision,
    tf32,
    cudnnBenchmark,
    arguments: checkArguments(given.arguments).given,
  };
  const checks = { sha256: given.sha256, preflight: given.preflight, signal };
  const native = await withFileChecks(path, { ...how, ...checks }, () =>
    loadWithOperators(path, how, signal),
  );
  debug(() => `loaded ${path} on ${native.device} in ${(performance.now() - started).toFixed(1)} ms`);
  return new Model(path, native);
}

/** Loads the file; where it needs operators of torchvision, together with torchvision's library. */
async function loadWithOperators(
  path: string,
  { libraries, ...how }: NativeLoadOptions,
  signal: AbortSignal | undefined,
): Promise<NativeModel> {
  const load = (all: readonly string[]) =>
    callNativeAsync(signal, (module, cancellation) =>
      module.loadModel(path, { ...how, libraries: all }, cancellation),
    );
  let torchvision: TorchvisionLibrary | null = null;
  try {
    return await load(libraries);
  } catch (cause) {
    const operator = missingOperatorOf(cause);
    if (operator === null) throw cause;
    if (operator.startsWith('torchvision::')) torchvision = await findTorchvision();
    if (!torchvision || torchvision.problem) throw missingOperator(path, operator, torchvision, cause);
  }
  try {
    return await load([...libraries, torchvision.path]);
  } catch (cause) {
    const operator = missingOperatorOf(cause);
    throw operator === null ? cause : missingOperator(path, operator, torchvision, cause);
  }
}

function missingOperatorOf(error: unknown): string | null {
  const missing = error instanceof GradCamError && error.code === 'ERR_MISSING_OPERATOR';
  return missing ? (error.details.available?.[0] ?? '') : null;
}

/** @internal */
export function checkLibraries(libraries: unknown = []): readonly string[] {
  if (!Array.isArray(libraries)) throw invalidArgumentType('libraries', 'an array of paths', libraries);
  return libraries.map((library, index) => {
    const path = filePath(library, `libraries[${index}]`);
    if (typeof path === 'string' && path !== '') return path;
    throw invalidArgumentType(`libraries[${index}]`, 'the path of a library', library);
  });
}

/** @internal */
export function checkDevice(device: unknown): string {
  if (typeof device === 'string' && /^(cpu|auto|cuda(:\d{1,2})?)$/.test(device)) return device;
  throw invalidArgumentType('device', "'cpu', 'cuda', 'cuda:0' (or another index) or 'auto'", device);
}

function checkPrecision(precision: unknown): 'float32' | 'bfloat16' {
  if (precision === 'float32' || precision === 'bfloat16') return precision;
  throw invalidArgumentType('precision', "'float32' or 'bfloat16'", precision);
}

function checkDType(dtype: unknown): DType | 'auto' {
  const known = ['auto', 'float16', 'bfloat16', 'float32', 'float64'];
  if (typeof dtype === 'string' && known.includes(dtype)) return dtype as DType | 'auto';
  throw invalidArgumentType('dtype', `one of '${known.join("', '")}'`, dtype);
}
