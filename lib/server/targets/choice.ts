import type { ClassReport } from '../../cam/explanation-report.js';
import { GradCamError } from '../../errors/errors.js';
import type { ModelArguments } from '../../model/arguments.js';
import type { ModelOutput } from '../../model/output.js';
import { tasks } from '../../sidecar/schema.js';
import type { Sidecar } from '../../sidecar/sidecar.js';
import type { TargetLike } from '../../targets/target.js';
import type { Tensor } from '../../tensor/tensor.js';
import type { Corners, PictureFrame } from './picture-frame.js';

// What is asked of one image, and what is made of it, whatever the protocol and the model's task.

/** What a served model does: what its sidecar says, or explains texts, as a CLIP. */
export const servedTasks = [...tasks, 'clip'] as const;
export type ServedTask = (typeof servedTasks)[number];

/** What a request wants explained of an image; where nothing is said, what the model is surest of. */
export interface TargetWish {
  /** Indices or labels: of a classifier classes, of a segmentation model categories, of a detector kinds of objects. */
  readonly classes?: readonly (number | string)[] | undefined;
  /** Instead: of a detector boxes, by their rank, 0 for the surest, or by their corners in the picture. */
  readonly boxes?: readonly (number | Corners)[] | undefined;
  /** Instead: so many of what the model is surest of. */
  readonly top?: number | undefined;
  /** Of a CLIP: what to look for. */
  readonly texts?: readonly string[] | undefined;
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
  /** Of a text: the cosine of its embedding with the image's; null of what is none. */
  readonly similarity: number | null;
}

/** Texts with what a CLIP makes of them. */
export interface EmbeddedTexts {
  readonly prompts: readonly string[];
  readonly textEmbeddings: readonly Float32Array[];
  readonly logitScale: number;
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
  /** What a CLIP looks for; null of other models. The explanation tells how much the image resembles each. */
  readonly texts: EmbeddedTexts | null;
}

/** The part of a served model that targets are chosen with. */
export interface TargetSource {
  readonly sidecar: Sidecar | null;
  readonly task: ServedTask;
  embed(texts: readonly string[]): Promise<EmbeddedTexts>;
  /** As of a ticket: memory for what targets are found in and made of. */
  reserve(bytes: number, what: string): void;
  predict(input: readonly Tensor[], given: ModelArguments | undefined): Promise<ModelOutput>;
}

/** How many maps a wish is; of a detector or a segmentation model that finds less, at most. */
export function countMaps({ classes, boxes, top, texts }: TargetWish): number {
  return (classes ?? boxes ?? texts)?.length ?? top ?? 1;
}

/** @throws {GradCamError} `ERR_INVALID_REQUEST` for wishes that exclude each other, or that models of the task have no answer to */
export function checkWish({ classes, boxes, top, texts }: TargetWish, task: ServedTask): void {
  const given = Object.entries({ class: classes, box: boxes, top, texts }).flatMap(([name, wish]) =>
    wish === undefined ? [] : [name],
  );
  const refuse = (message: string): never => {
    throw new GradCamError('ERR_INVALID_REQUEST', message);
  };
  if (given.length > 1) refuse(`Give ${given.join(' or ')}, not both.`);
  if (boxes !== undefined && task !== 'detection')
    refuse(
      `A box is explained of detectors only; the task of this model is ${task} (its sidecar says otherwise with \`task\`).`,
    );
  if (texts !== undefined && task !== 'clip')
    refuse('Texts are explained of a CLIP only, which this model is not.');
  if (texts === undefined && task === 'clip')
    refuse('This model is a CLIP: say what to look for, `text` in a query, else `texts`.');
}
