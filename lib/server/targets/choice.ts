import type { ClassReport } from '../../cam/explanation-report.js';
import { GradCamError } from '../../errors/errors.js';
import type { ModelArguments } from '../../model/arguments.js';
import type { ModelOutput } from '../../model/output.js';
import type { Sidecar } from '../../sidecar/sidecar.js';
import type { TargetLike } from '../../targets/target.js';
import type { Tensor } from '../../tensor/tensor.js';
import type { Corners, PictureFrame } from './picture-frame.js';

// What is asked of one image, and what is made of it, whatever the protocol and the model's task.

/** What a request wants explained of an image; where nothing is said, what the model is surest of. */
export interface TargetWish {
  /** Indices or labels: of a classifier classes, of a segmentation model categories, of a detector kinds of objects. */
  readonly classes?: readonly (number | string)[] | undefined;
  /** Instead: of a detector boxes, by their rank, 0 for the surest, or by their corners in the picture. */
  readonly boxes?: readonly (number | Corners)[] | undefined;
  /** Instead: so many of what the model is surest of. */
  readonly top?: number | undefined;
}

/** An image of a request: what is wanted of it, and where its input lies in the picture. */
export interface AskedImage {
  readonly wish: TargetWish;
  readonly frame: PictureFrame;
}

/** A box that a detector found. */
export interface FoundBox extends ClassReport {
  /** 0 for the surest. */
  readonly rank: number;
  /** In pixels of the picture. */
  readonly corners: Corners;
}

/** A category that a segmentation model found. */
export interface FoundCategory extends ClassReport {
  /** Of the pixels that the model saw, 0 to 1. */
  readonly share: number;
}

/** One target, as it is told to the client. */
export interface ExplainedTarget extends ClassReport {
  readonly box: FoundBox | null;
  readonly share: number | null;
}

/** What is explained of one image, and what else could have been asked for. */
export interface ChosenTargets {
  /** Undefined for what the method takes by itself, the predicted class. */
  readonly targets: readonly TargetLike[] | undefined;
  /** In the order of the targets; null where the explanation itself tells which classes they are. */
  readonly explained: readonly ExplainedTarget[] | null;
  /** All that a detector found, the surest first; null of other models. */
  readonly boxes: readonly FoundBox[] | null;
  /** All that a segmentation model found, the largest first; null of other models. */
  readonly categories: readonly FoundCategory[] | null;
}

/** The part of a served model that targets are chosen with. */
export interface TargetSource {
  readonly sidecar: Sidecar | null;
  predict(input: readonly Tensor[], given: ModelArguments | undefined): Promise<ModelOutput>;
}

/** @throws {GradCamError} `ERR_INVALID_REQUEST` for wishes that exclude each other, or that models of the task have no answer to */
export function checkWish({ classes, boxes, top }: TargetWish, task: string): void {
  const given = Object.entries({ class: classes, box: boxes, top }).flatMap(([name, wish]) =>
    wish === undefined ? [] : [name],
  );
  if (given.length > 1)
    throw new GradCamError('ERR_INVALID_REQUEST', `Give ${given.join(' or ')}, not both.`);
  if (boxes !== undefined && task !== 'detection') {
    const message = `A box is explained of detectors only; the task of this model is ${task} (its sidecar says otherwise with \`task\`).`;
    throw new GradCamError('ERR_INVALID_REQUEST', message);
  }
}
