import { checkMethodChoice, type MethodName, type MethodOptions } from '../../cam/methods/registry.js';
import { argumentOutOfRange, invalidArgumentType } from '../../errors/errors.js';
import { checkSignal, readOptions } from '../../errors/options.js';
import type { LoadImageOptions } from '../../image/options.js';
import { checkArguments, type ModelArguments } from '../../model/arguments.js';
import type { Device } from '../../model/load-model.js';
import type { ReshapeTransform } from '../../model/reshape-transform.js';
import type { TargetLayer } from '../../model/target-layers.js';
import type { MapDrawing } from '../../visualization/draw-maps.js';
import type { BatchFormat } from '../specification/specification.js';

/** Which pictures are explained, how, and where the results go. */
export interface BatchOptions {
  /** Exported program or TorchScript file. Its sidecar, if there is one, says what is not said here. */
  readonly model: string;
  /** A file to take as its sidecar instead; false for none. */
  readonly sidecar?: string | false;
  /** Files, folders (all pictures below them) and patterns such as `photos/**\/*.jpg`. */
  readonly images?: readonly string[];
  /** A text file with one path a line, or `-` for standard input. */
  readonly list?: string;
  /** Folder for the results; for workers it must be at the same path. */
  readonly output: string;
  /** Images in a chunk, from 1 to 10,000. Default 64. */
  readonly chunkSize?: number;
  /** Default `'gradcam'`. */
  readonly method?: MethodName;
  /** What the method takes beside what all do, in values that JSON holds. Default: its defaults. */
  readonly options?: MethodOptions;
  /** Default: the sidecar's, or else the suggested one. */
  readonly targetLayers?: TargetLayer | readonly TargetLayer[];
  /** For layers of transformers. Default: the sidecar's; `'none'`: none in spite of it. */
  readonly reshapeTransform?: ReshapeTransform | 'none';
  /** Indexes or labels of classes to explain. Default: the likeliest one of each image. */
  readonly classes?: readonly (number | string)[];
  /** Instead: how many of the likeliest classes of each image. Default 1. */
  readonly top?: number;
  readonly augSmooth?: boolean;
  readonly eigenSmooth?: boolean;
  /**
   * For the parameters of the model's forward that are no tensors, by name: values that JSON holds. Each goes before the
   * sidecar's of its name.
   */
  readonly arguments?: ModelArguments;
  /** How pictures are prepared. Default: as the sidecar says, or as for ImageNet. */
  readonly image?: LoadImageOptions;
  /** Names of the classes. Default: the sidecar's. */
  readonly labels?: readonly string[];
  /** Default `'png'`. */
  readonly format?: BatchFormat;
  /** How maps are drawn. Default: an overlay on what the model saw. */
  readonly drawing?: MapDrawing;
  /** How often a chunk is tried that fails for a reason that may pass, such as a network disk. Default 3. */
  readonly attempts?: number;
  /** Explain the first readable picture before anything else is done, so that a mistake shows now. Default true. */
  readonly tryOut?: boolean;
  /** Of the model as it is tried out or, without a queue, run. Default `'cpu'`. */
  readonly device?: Device;
  readonly signal?: AbortSignal;
}

const names = [
  'model',
  'sidecar',
  'images',
  'list',
  'output',
  'chunkSize',
  'method',
  'options',
  'targetLayers',
  'reshapeTransform',
  'arguments',
  'classes',
  'top',
  'augSmooth',
  'eigenSmooth',
  'image',
  'labels',
  'format',
  'drawing',
  'attempts',
  'tryOut',
  'device',
  'signal',
] as const satisfies readonly (keyof BatchOptions)[];

/**
 * The options, checked as far as that needs no file, with `further` ones that the caller checks.
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, `ERR_UNKNOWN_OPTION`
 */
export function checkBatchOptions<T extends BatchOptions>(
  options: T,
  further: readonly (keyof T & string)[],
): T {
  const given = readOptions<T>('batch options', options, [...names, ...further]);
  for (const name of ['model', 'output'] as const) {
    if (typeof given[name] !== 'string' || given[name] === '')
      throw invalidArgumentType(name, 'a path', given[name]);
  }
  const { images = [], list } = given;
  if (!Array.isArray(images) || images.some((path) => typeof path !== 'string'))
    throw invalidArgumentType('images', 'an array of paths', images);
  if (list !== undefined && typeof list !== 'string') throw invalidArgumentType('list', 'a path', list);
  if (images.length === 0 && list === undefined)
    throw invalidArgumentType('images', 'files, folders or patterns (or a list)', images);
  const { sidecar } = given;
  if (sidecar !== undefined && sidecar !== false && typeof sidecar !== 'string')
    throw invalidArgumentType('sidecar', 'a path or false', sidecar);
  checkMethodChoice(given);
  checkArguments(given.arguments);
  if (given.classes !== undefined && given.top !== undefined)
    throw invalidArgumentType('top', 'nothing where there are classes', given.top);
  checkInteger('chunkSize', given.chunkSize ?? 64, 10_000);
  checkInteger('attempts', given.attempts ?? 3, 100);
  checkSignal(given.signal);
  return given;
}

/** @throws {RangeError} `ERR_OUT_OF_RANGE` */
export function checkInteger(name: string, value: number, most: number): void {
  if (!Number.isInteger(value) || value < 1 || value > most)
    throw argumentOutOfRange(name, `an integer from 1 to ${most}`, value);
}
