import { argumentOutOfRange, GradCamError, invalidArgumentType } from '../errors/errors.js';
import { readOptions } from '../errors/options.js';
import type { ModelOutput } from '../model/output.js';
import { Tensor } from '../tensor/tensor.js';
import { checkIndex } from './target.js';

/** How much of an image a segmentation model gives to a category. */
export interface PresentCategory {
  readonly category: number;
  /** Pixels of the output. */
  readonly pixels: number;
}

/** How pixels are assigned by a model with one channel. */
export interface CategoryMaskOptions {
  /**
   * Of an output of one channel, the value above which a pixel is foreground: 0, the default, for logits, and 0.5 for a
   * model that ends in a sigmoid. Must be given where all values lie in 0 to 1, since those may be either.
   */
  readonly threshold?: number;
}

/**
 * The pixels that a segmentation model assigns to a category: where its output is the highest of all categories'. The
 * mask that a `SemanticSegmentationTarget` is made with. A binary segmentation model has one channel: its only category is
 * 0, the foreground, where the output is above 0 (its sigmoid above 0.5); the background has none.
 * @param output - of one image, `[categories, H, W]` or `[1, categories, H, W]`; of a model that gives a dictionary its
 *   `out`; of a batch `output.at(index)`
 * @returns float32 `[H, W]`, 1 where the category is assigned, else 0
 * @throws {GradCamError} `ERR_OUTPUT_SHAPE`, `ERR_CLASS_OUT_OF_RANGE`, `ERR_DISPOSED`
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, `ERR_UNKNOWN_OPTION`
 * @example
 * const { out } = await model.forward(image.tensor);
 * const car = new SemanticSegmentationTarget(7, categoryMask(out, 7));
 */
export function categoryMask(
  output: ModelOutput | undefined,
  category: number,
  options?: CategoryMaskOptions,
): Tensor {
  checkIndex('category', category);
  return maskOf(assignPixels(output, options), category);
}

/**
 * The categories that a segmentation model assigns to pixels of an image, those with most pixels first.
 * @param output - as for {@link categoryMask}; of one channel only the foreground, 0, is counted
 * @throws {GradCamError} `ERR_OUTPUT_SHAPE`, `ERR_DISPOSED`
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_UNKNOWN_OPTION`
 */
export function presentCategories(
  output: ModelOutput | undefined,
  options?: CategoryMaskOptions,
): PresentCategory[] {
  return categoriesOf(assignPixels(output, options));
}

/** @internal The categories of an image and the mask of each, from one look at its pixels. */
export interface AssignedCategories {
  readonly present: readonly PresentCategory[];
  /** Pixels of the output. */
  readonly pixels: number;
  /** As {@link categoryMask}. */
  mask(category: number): Tensor;
}

/**
 * @throws as {@link categoryMask}
 * @internal
 */
export function assignCategories(
  output: ModelOutput | undefined,
  options?: CategoryMaskOptions,
): AssignedCategories {
  const assignment = assignPixels(output, options);
  return {
    present: categoriesOf(assignment),
    pixels: assignment.assigned.length,
    mask: (category) => maskOf(assignment, category),
  };
}

function maskOf({ assigned, categories, height, width }: Assignment, category: number): Tensor {
  if (category >= categories) {
    throw new GradCamError(
      'ERR_CLASS_OUT_OF_RANGE',
      categories === 1
        ? `Category ${category} does not exist: of an output of one channel the only category is 0, the foreground.`
        : `Category ${category} does not exist: the model has ${categories} categories, 0 to ${categories - 1}.`,
    );
  }
  const mask = new Float32Array(assigned.length);
  for (let pixel = 0; pixel < mask.length; pixel++) mask[pixel] = assigned[pixel] === category ? 1 : 0;
  return Tensor.from(mask, [height, width]);
}

function categoriesOf({ assigned, categories }: Assignment): PresentCategory[] {
  const pixels = new Array<number>(categories).fill(0);
  for (const category of assigned) if (category >= 0) pixels[category] = (pixels[category] ?? 0) + 1;
  return pixels
    .map((count, category) => ({ category, pixels: count }))
    .filter((each) => each.pixels > 0)
    .sort((a, b) => b.pixels - a.pixels);
}

interface Assignment {
  /** Of each pixel the category; -1 for the background of one channel. */
  readonly assigned: Int32Array;
  readonly categories: number;
  readonly height: number;
  readonly width: number;
}

function assignPixels(output: ModelOutput | undefined, options: CategoryMaskOptions | undefined): Assignment {
  const { threshold } = readOptions<CategoryMaskOptions>('categoryMask options', options, ['threshold']);
  if (threshold !== undefined && typeof threshold !== 'number')
    throw invalidArgumentType('threshold', 'a number', threshold);
  if (!(output instanceof Tensor))
    throw invalidArgumentType('output', "a Tensor (of a model that gives a dictionary its 'out')", output);
  const sizes = output.shape.length === 4 && output.shape[0] === 1 ? output.shape.slice(1) : output.shape;
  const [categories = 0, height = 0, width = 0] = sizes;
  if (sizes.length !== 3 || categories === 0 || height * width === 0) {
    throw new GradCamError(
      'ERR_OUTPUT_SHAPE',
      `Expected the output of one image, [categories, H, W], but received [${output.shape.join(', ')}]. ` +
        'Of a batch take one image with output.at(index).',
    );
  }
  const values = output.toTypedArray();
  const area = height * width;
  if (categories === 1)
    return { assigned: assignForeground(values as Float32Array, threshold), categories, height, width };
  if (threshold !== undefined)
    throw argumentOutOfRange('threshold', 'nothing for several categories', threshold);
  const best = values.slice(0, area);
  const assigned = new Int32Array(area);
  for (let category = 1; category < categories; category++) {
    for (let pixel = 0; pixel < area; pixel++) {
      const value = values[category * area + pixel] as number;
      // Of equal outputs the first category wins, as in PyTorch's argmax.
      if (value > (best[pixel] as number)) {
        best[pixel] = value;
        assigned[pixel] = category;
      }
    }
  }
  return { assigned, categories, height, width };
}

function assignForeground(values: ArrayLike<number>, threshold: number | undefined): Int32Array {
  const mayBeProbabilities = Array.prototype.every.call(values, (value: number) => value >= 0 && value <= 1);
  if (threshold === undefined && mayBeProbabilities)
    throw invalidArgumentType(
      'threshold',
      '0 (the one channel holds logits) or 0.5 (the model ends in a sigmoid), since all values lie in 0 to 1,',
      threshold,
    );
  // PyTorch's `output.sigmoid() > 0.5` in float32, which is not `output > 0` for logits that are next to nothing.
  const isForeground = threshold
    ? (value: number) => value > threshold
    : (logit: number) => Math.fround(1 / (1 + Math.exp(-logit))) > 0.5;
  return Int32Array.from(values, (value) => (isForeground(value) ? 0 : -1));
}
