import { GradCamError } from '../../errors/errors.js';
import { type ModelOutput, selectOutput } from '../../model/output.js';
import { findClass } from '../../sidecar/labels.js';
import type { Sidecar } from '../../sidecar/sidecar.js';
import { assignCategories } from '../../targets/category-mask.js';
import { SemanticSegmentationTarget } from '../../targets/dense-targets.js';
import { Tensor } from '../../tensor/tensor.js';
import {
  type AskedImage,
  type ChosenTargets,
  countMaps,
  type FoundCategory,
  type TargetSource,
} from './choice.js';

const backgrounds = new Set(['background', '__background__']);

/**
 * Categories of a segmentation model, each in the pixels that the model gives to it. Where none is asked for, the one with
 * most pixels; the background, which is known by its label, only where there is nothing else.
 * @param output - for the images, the explained part `[images, categories, H, W]`
 * @throws {GradCamError} `ERR_OUTPUT_SHAPE`, `ERR_UNKNOWN_LABEL`, `ERR_CLASS_OUT_OF_RANGE`, `ERR_UNSUPPORTED`, `ERR_TOO_LARGE`
 */
export function chooseCategories(
  output: ModelOutput,
  images: readonly AskedImage[],
  { sidecar, reserve }: Pick<TargetSource, 'sidecar' | 'reserve'>,
): ChosenTargets[] {
  const explained = selectOutput(output, sidecar?.output);
  if (!(explained instanceof Tensor) || explained.shape.length !== 4 || explained.shape[0] !== images.length)
    throw new GradCamError(
      'ERR_OUTPUT_SHAPE',
      `The task of this model is segmentation, but its output is ${explained instanceof Tensor ? `[${explained.shape.join(', ')}]` : 'no tensor'}, not [images, categories, height, width]. ` +
        "Its sidecar says which part of the output it is, with `output`: 'out' of torchvision's models.",
    );
  const masks = images.reduce((sum, { wish }) => sum + countMaps(wish), 0);
  const [height = 0, width = 0] = explained.shape.slice(2);
  reserve(4 * masks * height * width, `${masks} masks of ${width} x ${height}`);
  return images.map(({ wish }, index) => {
    using ofImage = explained.at(index);
    return chooseOfImage(ofImage, wish, sidecar);
  });
}

function chooseOfImage(
  output: Tensor,
  { classes, top }: AskedImage['wish'],
  sidecar: Sidecar | null,
): ChosenTargets {
  const { labels } = sidecar ?? {};
  const assigned = assignCategories(output, thresholdOf(output, sidecar));
  const report = (category: number, pixels: number): FoundCategory => ({
    classIndex: category,
    label: labels?.[category] ?? null,
    probability: null,
    share: pixels / assigned.pixels,
  });
  const found = assigned.present.map(({ category, pixels }) => report(category, pixels));
  const isObject = ({ label }: FoundCategory) => !backgrounds.has(label?.trim().toLowerCase() ?? '');
  const objects = found.filter(isObject);
  // Where a model with one channel sees nothing, its foreground is asked for all the same: the map is empty.
  const usual = [objects, found, [report(0, 0)]].find(({ length }) => length > 0) ?? [];
  const chosen = classes
    ? classes.map((query) => {
        const category = typeof query === 'number' ? query : findClass(labels, query);
        return found.find(({ classIndex }) => classIndex === category) ?? report(category, 0);
      })
    : usual.slice(0, top ?? 1);
  return {
    targets: chosen.map(
      ({ classIndex }) => new SemanticSegmentationTarget(classIndex, assigned.mask(classIndex)),
    ),
    explained: chosen.map((each) => ({ ...each, box: null, similarity: null })),
    boxes: null,
    categories: found,
    texts: null,
  };
}

/** Of one channel, from which value on a pixel is foreground. */
function thresholdOf(output: Tensor, sidecar: Sidecar | null): { threshold?: number } {
  if (output.shape[0] !== 1) return {};
  if (sidecar?.scores === 'probabilities') return { threshold: 0.5 };
  if (sidecar?.scores !== undefined) return { threshold: 0 };
  const values = output.toTypedArray() as Float32Array;
  if (values.some((value) => value < 0 || value > 1)) return {};
  throw new GradCamError(
    'ERR_UNSUPPORTED',
    'The one channel of this segmentation model is from 0 to 1 for this picture, which may be logits or probabilities: its sidecar must say `scores`.',
  );
}
