import { GradCamError } from '../errors/errors.js';

// What the native module says of a class target for an output with a place for each pixel.
const classTarget = /^A class target needs an output of shape .*, but the model's output is \[([\d, ]+)\]/;

/**
 * For a job's catch(): throws its failure; where a class was asked of a segmentation model, with what to ask for instead.
 * @internal
 */
export function throwNamingSegmentation(failure: unknown): never {
  if (!(failure instanceof GradCamError) || failure.code !== 'ERR_OUTPUT_SHAPE') throw failure;
  const [start, sizes = ''] = classTarget.exec(failure.message) ?? [];
  if (start === undefined || sizes.split(',').length < 4) throw failure;
  const message =
    `${start}. That is a segmentation model's, [images, categories, height, width], which has no class of the whole image: ` +
    'explain a category in its pixels with a SemanticSegmentationTarget(category, categoryMask(output, category)); see ' +
    'docs/segmentation-and-detection.md. If it is a classifier, select another output with `output`.';
  const error = new GradCamError(failure.code, message, { details: failure.details });
  const [, frames = ''] = /(\n {4}at [\s\S]*)$/.exec(failure.stack ?? '') ?? [];
  if (frames) error.stack = `${error.name}: ${message}${frames}`;
  throw error;
}
