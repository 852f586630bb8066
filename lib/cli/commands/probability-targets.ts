import { countOutputs } from '../../cam/two-sides.js';
import { GradCamError } from '../../errors/errors.js';
import type { Model } from '../../model/model.js';
import { disposeOutput, selectOutput } from '../../model/output.js';
import { type ClassScores, isTwoSided, readScores } from '../../model/scores.js';
import type { Sidecar } from '../../sidecar/sidecar.js';
import {
  BinaryClassifierOutputTarget,
  ClassifierOutputSoftmaxTarget,
  ClassifierOutputTarget,
} from '../../targets/class-targets.js';
import type { TargetLike } from '../../targets/target.js';
import { Tensor } from '../../tensor/tensor.js';

/**
 * The target for a class, or where none is asked for the predicted one: of a model with one output for two classes the
 * output or its negative; undefined where the library's own choice is right.
 * @throws {GradCamError} `ERR_UNSUPPORTED` where the predicted side cannot be told, `ERR_CLASS_OUT_OF_RANGE`
 */
export async function sideTarget(
  model: Model,
  { scores, output }: Pick<Sidecar, 'scores' | 'output'>,
  labels: readonly string[] | undefined,
  wanted: number | undefined,
  input: Tensor,
  signal: AbortSignal,
): Promise<TargetLike | undefined> {
  const hint = { scores, labelCount: labels?.length };
  if (!isTwoSided(1, hint)) return wanted;
  const whole = await model.forward(input, { signal });
  try {
    const selected = selectOutput(whole, output);
    if (!(selected instanceof Tensor) || countOutputs(selected, 1) !== 1) return wanted;
    if (wanted !== undefined && wanted > 1)
      throw new GradCamError(
        'ERR_CLASS_OUT_OF_RANGE',
        `Class ${wanted} does not exist: the model has one output for 2 classes, 0 to 1.`,
      );
    const [value = Number.NaN] = selected.toTypedArray() as Float32Array;
    const { side, note } = readScores([value], hint, selected.dtype);
    const chosen = wanted ?? side;
    if (chosen === null)
      throw new GradCamError(
        'ERR_UNSUPPORTED',
        `Which class the model predicts cannot be told. ${note} Or name the class with --class.`,
      );
    return new BinaryClassifierOutputTarget(chosen as 0 | 1);
  } finally {
    disposeOutput(whole);
  }
}

/**
 * The probability of a class as the model means it.
 * @throws {GradCamError} `ERR_UNSUPPORTED` where its outputs do not say
 */
export function probabilityTarget({ scores, twoSided, note }: ClassScores, category: number): TargetLike {
  if (scores === 'logits') return new ClassifierOutputSoftmaxTarget(category);
  if (scores === null)
    throw new GradCamError('ERR_UNSUPPORTED', `The metrics need a probability. ${note ?? ''}`.trim());
  if (!twoSided)
    return scores === 'probabilities'
      ? new ClassifierOutputTarget(category)
      : (output) => sigmoid(output.select(0, category));
  const sign = category === 1 ? 1 : -1;
  if (scores === 'probabilities')
    return (output) =>
      output
        .sum()
        .mul(sign)
        .add(category === 1 ? 0 : 1);
  return (output) => sigmoid(output.sum().mul(sign));
}

function sigmoid(logit: Tensor): Tensor {
  return logit.mul(-1).exp().add(1).log().mul(-1).exp();
}
