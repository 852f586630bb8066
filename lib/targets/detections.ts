import { argumentOutOfRange, GradCamError, invalidArgumentType } from '../errors/errors.js';
import { readOptions } from '../errors/options.js';
import type { ModelOutput } from '../model/output.js';
import { Tensor } from '../tensor/tensor.js';

/** A box that a detector found. */
export interface DetectedBox {
  readonly label: number;
  /** 0 to 1. */
  readonly score: number;
  /** Corners `[x1, y1, x2, y2]`, in pixels of the model's input. */
  readonly box: readonly [number, number, number, number];
}

/**
 * The boxes that a detector like torchvision's found in one image, the surest first: of a scripted Faster R-CNN's output
 * `[losses, detections]` give it `output[1][0]`, for the first image.
 * @param detections - a dictionary of tensors: `boxes` `[n, 4]`, `labels` `[n]` and `scores` `[n]`
 * @param options - `minScore`: leave out what the model is less sure of, default 0.5; `labels`: only these
 * @throws {GradCamError} `ERR_OUTPUT_SHAPE` where it is no such dictionary
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, `ERR_UNKNOWN_OPTION`
 * @example
 * const [, detections] = await model.forward(image.tensor);
 * const cats = detectedBoxes(detections[0], { minScore: 0.7, labels: [17] });
 * await cam.explain(image.tensor, { targets: FasterRCNNBoxScoreTarget.of(cats) });
 */
export function detectedBoxes(
  detections: ModelOutput | undefined,
  options?: { readonly minScore?: number; readonly labels?: readonly number[] },
): DetectedBox[] {
  const { minScore = 0.5, labels: wanted } = readOptions<{ minScore?: number; labels?: readonly number[] }>(
    'detectedBoxes options',
    options,
    ['minScore', 'labels'],
  );
  if (typeof minScore !== 'number') throw invalidArgumentType('minScore', 'a number', minScore);
  if (!(minScore >= 0 && minScore <= 1))
    throw argumentOutOfRange('minScore', 'a number from 0 to 1', minScore);
  if (wanted !== undefined && !Array.isArray(wanted))
    throw invalidArgumentType('labels', 'an array of labels', wanted);
  const boxes = numbersOf(detections, 'boxes');
  const labels = numbersOf(detections, 'labels');
  const scores = numbersOf(detections, 'scores');
  if (boxes.length !== 4 * labels.length || scores.length !== labels.length)
    throw notDetections('its boxes, labels and scores do not belong together');
  const found = labels.map((label, index): DetectedBox => {
    const [x1 = 0, y1 = 0, x2 = 0, y2 = 0] = boxes.slice(4 * index, 4 * index + 4);
    return { label, score: scores[index] ?? 0, box: [x1, y1, x2, y2] };
  });
  return found
    .filter(({ label, score }) => score >= minScore && (wanted === undefined || wanted.includes(label)))
    .sort((a, b) => b.score - a.score);
}

/**
 * The way through a detector's output to its detections, a list with a dictionary for each image: `[1]` of torchvision's
 * scripted detectors. Null where there is none.
 * @internal
 */
export function pathToDetections(output: ModelOutput): (string | number)[] | null {
  if (output instanceof Tensor || typeof output !== 'object' || output === null) return null;
  const isList = Array.isArray(output);
  if (isList && output.length > 0 && output.every(areDetections)) return [];
  for (const [key, inner] of Object.entries(output)) {
    const path = pathToDetections(inner);
    if (path) return [isList ? Number(key) : key, ...path];
  }
  return null;
}

function areDetections(value: ModelOutput): boolean {
  if (value instanceof Tensor || Array.isArray(value) || typeof value !== 'object' || value === null)
    return false;
  return ['boxes', 'labels', 'scores'].every((key) => value[key] instanceof Tensor);
}

function numbersOf(detections: ModelOutput | undefined, key: string): number[] {
  const isDictionary =
    typeof detections === 'object' &&
    detections !== null &&
    !Array.isArray(detections) &&
    !(detections instanceof Tensor);
  const tensor = isDictionary ? detections[key] : undefined;
  if (!(tensor instanceof Tensor)) throw notDetections(`there is no tensor '${key}'`);
  return Array.from(tensor.toTypedArray() as ArrayLike<number | bigint>, Number);
}

function notDetections(problem: string): GradCamError {
  return new GradCamError(
    'ERR_OUTPUT_SHAPE',
    `Expected the detections of one image, a dictionary of boxes, labels and scores, but ${problem}. ` +
      "Of torchvision's scripted detectors that is output[1][0].",
  );
}
