import { GradCamError, invalidArgumentType } from '../errors/errors.js';
import { softmax } from '../tensor/softmax.js';
import type { DType } from '../tensor/tensor.js';

/** @internal */
export const scoreKinds = [
  'logits',
  'probabilities',
  'sigmoid',
  'binary',
] as const satisfies readonly Scores[];

/**
 * What the outputs of a classifier are:
 * - `'logits'`: one for each class, of which one is right; softmax makes probabilities of them
 * - `'probabilities'`: they are that already, 0 to 1; the model ends in a softmax or a sigmoid
 * - `'sigmoid'`: logits of labels that are independent of each other (multi-label); sigmoid makes probabilities of them
 * - `'binary'`: one logit for two classes, class 0 below zero and class 1 from zero on; sigmoid makes it the probability
 *   of class 1
 */
export type Scores = 'logits' | 'probabilities' | 'sigmoid' | 'binary';

/** The outputs for one image, by class. */
export interface ClassScores {
  /** What the outputs are; null where that cannot be told for certain. */
  readonly scores: Scores | null;
  /** Higher is likelier. Two for one output that separates two classes. */
  readonly values: readonly number[];
  /** 0 to 1; null where the outputs do not say. */
  readonly probabilities: readonly number[] | null;
  /** Whether one output separates two classes. */
  readonly twoSided: boolean;
  /** Of two sides the predicted one, 0 or 1; null where that cannot be told. */
  readonly side: 0 | 1 | null;
  /** Why there are no probabilities, and the cure. */
  readonly note: string | null;
}

/** What is known of a model's outputs before they are seen. */
export interface ScoresHint {
  readonly scores?: Scores | undefined;
  /** How many labels the classes have; undefined where there are none. */
  readonly labelCount?: number | undefined;
}

/** @internal */
export function checkScores(scores: unknown): Scores | undefined {
  if (scores === undefined || (scoreKinds as readonly unknown[]).includes(scores))
    return scores as Scores | undefined;
  throw invalidArgumentType('scores', `one of '${scoreKinds.join("', '")}'`, scores);
}

/** Whether one output of a model separates two classes: so it is said, or there are two labels for it. */
export function isTwoSided(outputs: number, { scores, labelCount }: ScoresHint): boolean {
  return outputs === 1 && (scores === 'binary' || labelCount === 2);
}

/** Of float32 and float64, how far a softmax may be from a sum of 1. */
const sumError = 1e-5;
const isShare = (value: number) => value >= 0 && value <= 1;
const sigmoid = (logit: number) => 1 / (1 + Math.exp(-logit));
const say = (kinds: string) => `say which in the sidecar: "scores": ${kinds}`;

/**
 * What one image's outputs say of its classes.
 * @throws {GradCamError} `ERR_OUTPUT_SHAPE` where they are not what `scores` says
 */
export function readScores(outputs: readonly number[], hint: ScoresHint, dtype: DType): ClassScores {
  const { scores } = hint;
  if (scores === 'binary' && outputs.length !== 1)
    throw mismatch(
      `"scores": "binary" is for a model with one output, but it has ${outputs.length}. Use "logits" or "sigmoid".`,
    );
  if (scores === 'probabilities') {
    // What rounding adds to a sum of parts.
    const other = outputs.find((value) => !(value >= -sumError && value <= 1 + sumError));
    if (other !== undefined)
      throw mismatch(
        `"scores": "probabilities" is for outputs from 0 to 1, but there is ${other}. Use "logits", "sigmoid" or "binary".`,
      );
  }
  if (isTwoSided(outputs.length, hint)) return ofTwoSides(outputs[0] as number, scores);
  const of = (
    kind: Scores | null,
    probabilities: readonly number[] | null,
    note: string | null = null,
  ): ClassScores => ({
    scores: kind,
    values: outputs,
    probabilities,
    twoSided: false,
    side: null,
    note,
  });
  switch (scores) {
    case 'probabilities':
      return of(scores, outputs);
    case 'sigmoid':
      return of(scores, outputs.map(sigmoid));
  }
  if (outputs.length <= 1)
    return of(
      scores ?? null,
      null,
      outputs.length === 0
        ? null
        : `The model has one output, of which a softmax is always 1; ${say('"binary" (a logit for two classes), "sigmoid" or "probabilities"')}.`,
    );
  if (scores === 'logits' || !outputs.every(isShare)) return of('logits', softmax(outputs));
  const sum = outputs.reduce((total, value) => total + value, 0);
  const isExact = dtype === 'float32' || dtype === 'float64';
  if (isExact && Math.abs(sum - 1) <= sumError) return of('probabilities', outputs);
  return of(
    null,
    null,
    `All outputs lie in 0 to 1: they may be probabilities or logits; ${say('"probabilities", "logits" or "sigmoid"')}.`,
  );
}

function ofTwoSides(output: number, scores: Scores | undefined): ClassScores {
  const of = (kind: Scores, positive: number, values: readonly number[], side: 0 | 1): ClassScores => ({
    scores: kind,
    values,
    probabilities: [1 - positive, positive],
    twoSided: true,
    side,
    note: null,
  });
  if (scores === 'probabilities') return of(scores, output, [1 - output, output], output < 0.5 ? 0 : 1);
  if (scores !== undefined || !isShare(output))
    return of('binary', sigmoid(output), [-output, output], output < 0 ? 0 : 1);
  return {
    scores: null,
    values: [0.5 - output, output - 0.5],
    probabilities: null,
    twoSided: true,
    side: output < 0.5 ? null : 1,
    note: `The model's one output is ${Number(output.toPrecision(4))}, which may be a logit or a probability; ${say('"binary" (a logit) or "probabilities"')}.`,
  };
}

function mismatch(message: string): GradCamError {
  return new GradCamError('ERR_OUTPUT_SHAPE', message);
}
