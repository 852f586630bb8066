import type { ModelArguments } from '../../model/arguments.js';
import { disposeOutput, type ModelOutput } from '../../model/output.js';
import { findClass } from '../../sidecar/labels.js';
import { topClassTargets } from '../../targets/class-targets.js';
import type { TargetLike } from '../../targets/target.js';
import { VectorTarget } from '../../targets/vector-targets.js';
import { Tensor } from '../../tensor/tensor.js';
import { chooseBoxes } from './boxes.js';
import { chooseCategories } from './categories.js';
import { type AskedImage, type ChosenTargets, checkWish, type TargetSource } from './choice.js';

const nothingFound = { explained: null, boxes: null, categories: null, texts: null } as const;

/**
 * What is explained of each image. A class is known before the model has run; pixels and boxes are found in what it gives,
 * so that it runs once without gradients first.
 * @param input - the model's inputs for the images
 * @throws {GradCamError} `ERR_INVALID_REQUEST`, `ERR_UNKNOWN_LABEL`, `ERR_NO_DETECTION`, and as `Model.forward`
 */
export async function chooseTargets(
  source: TargetSource,
  input: readonly Tensor[],
  images: readonly AskedImage[],
  given: ModelArguments | undefined,
): Promise<ChosenTargets[]> {
  const { sidecar, task } = source;
  for (const { wish } of images) checkWish(wish, task);
  if (task === 'classification')
    return images.map(({ wish: { classes, top } }) => ({
      targets:
        classes?.map((query) => (typeof query === 'number' ? query : findClass(sidecar?.labels, query))) ??
        (top === undefined ? undefined : topClassTargets(top)),
      ...nothingFound,
    }));
  if (task === 'clip') return await Promise.all(images.map(({ wish }) => chooseTexts(source, wish)));
  const output = await source.predict(input, given);
  try {
    source.reserve(bytesOfOutput(output), 'What the targets are found in');
    return task === 'segmentation'
      ? chooseCategories(output, images, source)
      : chooseBoxes(output, images, sidecar);
  } finally {
    disposeOutput(output);
  }
}

function bytesOfOutput(output: ModelOutput): number {
  if (output instanceof Tensor) return 4 * output.size; // nearly all of it is float32
  if (typeof output !== 'object' || output === null) return 0;
  return Object.values(output).reduce((sum: number, each) => sum + bytesOfOutput(each), 0);
}

/** Texts of a CLIP, which one run of the text encoder makes targets of. */
async function chooseTexts(source: TargetSource, { texts = [] }: AskedImage['wish']): Promise<ChosenTargets> {
  const embedded = await source.embed(texts);
  return {
    ...nothingFound,
    targets: embedded.textEmbeddings.map((text) => new VectorTarget(text)),
    texts: embedded,
  };
}

/** For an explain of these images; undefined where nothing is asked of any. */
export function targetsOf(chosen: readonly ChosenTargets[]): (readonly TargetLike[])[] | undefined {
  if (chosen.every(({ targets }) => targets === undefined)) return undefined;
  return chosen.map(({ targets }) => targets ?? topClassTargets(1));
}
