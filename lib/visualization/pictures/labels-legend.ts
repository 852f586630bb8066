import { argumentOutOfRange, invalidArgumentType } from '../../errors/errors.js';
import { Tensor } from '../../tensor/tensor.js';

/**
 * What each concept of a factorization stands for: its highest-scoring classes, a line each, such as
 * `"tabby, tabby cat:0.83"`. pytorch-grad-cam's `create_labels_legend`; of a label with several names the first three stay.
 * @param conceptScores - `[components, classes]`: a factorization's `conceptOutputs`, best after a softmax
 * @param labels - of each class
 * @param topK - how many classes for each concept. Default 2
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`
 */
export function createLabelsLegend(conceptScores: Tensor, labels: readonly string[], topK = 2): string[] {
  if (!(conceptScores instanceof Tensor))
    throw invalidArgumentType('conceptScores', 'a Tensor', conceptScores);
  if (!Array.isArray(labels)) throw invalidArgumentType('labels', 'an array of strings', labels);
  const [components = 0, classes = 0] = conceptScores.shape;
  if (conceptScores.shape.length !== 2)
    throw argumentOutOfRange(
      'conceptScores',
      'a shape [components, classes]',
      `[${conceptScores.shape.join(', ')}]`,
    );
  if (labels.length < classes)
    throw argumentOutOfRange('labels', `a label for each of ${classes} classes`, labels.length);
  if (!Number.isInteger(topK) || topK < 1) throw argumentOutOfRange('topK', 'an integer of at least 1', topK);
  const scores = Array.from(conceptScores.toTypedArray(), Number);
  return Array.from({ length: components }, (_, component) => {
    const row = scores.slice(component * classes, (component + 1) * classes);
    const ranked = [...row.entries()].sort(([, a], [, b]) => b - a).slice(0, topK);
    return ranked
      .map(([index, score]) => `${labels[index]?.split(',').slice(0, 3).join(',')}:${score.toFixed(2)}`)
      .join('\n');
  });
}
