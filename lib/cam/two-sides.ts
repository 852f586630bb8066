import type { NativeTarget } from '../addon/addon.js';
import { GradCamError } from '../errors/errors.js';
import { type ModelOutput, selectOutput } from '../model/output.js';
import { readScores, type ScoresHint } from '../model/scores.js';
import { Tensor } from '../tensor/tensor.js';
import type { Explanation } from './explanation.js';

// Models with one output that separates two classes: the output speaks for class 1, its negative for class 0. Which of the
// two is predicted is known after the forward only, so that both are explained where the prediction is asked for.

/** What becomes of each target of an image: the position of its map, or the rank of the side it asks for. */
type Choice =
  | { readonly position: number }
  | { readonly rank: 0 | 1; readonly positions: readonly [number, number] };

/** @internal Targets as the native module takes them, and which of their maps are wanted. */
export interface SidedTargets {
  readonly targets: NativeTarget[][];
  /** For each image, or one list for all; for each target of the caller's. */
  readonly choices: readonly (readonly Choice[])[];
}

/** @internal How many outputs the model has for each image; null where its output is no row of numbers. */
export function countOutputs(output: ModelOutput, images: number): number | null {
  if (!(output instanceof Tensor)) return null;
  const [rows, columns] = output.shape;
  if (output.shape.length === 0) return images === 1 ? 1 : null;
  if (rows !== images || output.shape.length > 2) return null;
  return columns ?? 1;
}

/**
 * Class and rank targets of two sides as binary targets.
 * @internal
 * @throws {GradCamError} `ERR_CLASS_OUT_OF_RANGE`, `ERR_UNSUPPORTED` for targets that compare outputs
 */
export function targetSides(targets: readonly (readonly NativeTarget[])[]): SidedTargets {
  const choices: Choice[][] = [];
  const sided = targets.map((ofImage) => {
    const list: NativeTarget[] = [];
    const sides: (number | undefined)[] = [];
    const positionOf = (side: 0 | 1): number => {
      sides[side] ??= list.push({ kind: 'binary', category: side }) - 1;
      return sides[side];
    };
    choices.push(
      ofImage.map((target) => {
        const { kind, category = 0 } = target;
        if (kind === 'class') return { position: positionOf(checkSide('Class', category)) };
        if (kind === 'rank')
          return { rank: checkSide('Rank', category), positions: [positionOf(0), positionOf(1)] };
        if (comparing.has(kind))
          throw new GradCamError(
            'ERR_UNSUPPORTED',
            'This target or method compares the outputs of several classes, but the model has one output. Use GradCAM with a BinaryClassifierOutputTarget.',
          );
        return { position: list.push(target) - 1 };
      }),
    );
    return list;
  });
  return { targets: sided, choices };
}

const comparing: ReadonlySet<NativeTarget['kind']> = new Set<NativeTarget['kind']>([
  'softmax',
  'rest',
  'softmax-output',
  'finer',
  'finer-ranks',
]);

function checkSide(what: string, index: number): 0 | 1 {
  if (index === 0 || index === 1) return index;
  throw new GradCamError(
    'ERR_CLASS_OUT_OF_RANGE',
    `${what} ${index} does not exist: the model has one output for 2 classes, 0 to 1.`,
  );
}

/**
 * The maps that were asked for, of those of both sides.
 * @internal
 * @throws {GradCamError} `ERR_UNSUPPORTED` where the predicted side cannot be told
 */
export function chooseSides(
  explanation: Explanation,
  { choices }: SidedTargets,
  selector: readonly (string | number)[],
  hint: ScoresHint,
): Explanation {
  const output = selectOutput(explanation.outputs, selector) as Tensor;
  const images = (explanation.maps.at(-1)?.imageIndex ?? 0) + 1;
  const count = countOutputs(output, images);
  if (count !== 1)
    throw new GradCamError(
      'ERR_OUTPUT_SHAPE',
      `"scores": "binary" is for a model with one output for each image, but it gives ${count ?? 'something else'}. Use "logits" or "sigmoid".`,
    );
  const outputs = Array.from(output.toTypedArray() as ArrayLike<number>);
  const chosen: { index: number; targetIndex: number }[] = [];
  for (let index = 0; index < explanation.maps.length; ) {
    const image = explanation.maps[index]?.imageIndex ?? 0;
    const ofImage = choices[choices.length === 1 ? 0 : image] ?? [];
    for (const [targetIndex, choice] of ofImage.entries()) {
      if ('position' in choice) chosen.push({ index: index + choice.position, targetIndex });
      else {
        const predicted = sideOf(outputs[image] ?? Number.NaN, hint, output.dtype);
        chosen.push({ index: index + choice.positions[predicted === choice.rank ? 0 : 1], targetIndex });
      }
    }
    while (explanation.maps[index]?.imageIndex === image) index++;
  }
  return explanation.ofMaps(chosen);
}

function sideOf(output: number, hint: ScoresHint, dtype: Tensor['dtype']): 0 | 1 {
  const { side, note } = readScores([output], hint, dtype);
  if (side !== null) return side;
  throw new GradCamError(
    'ERR_UNSUPPORTED',
    `Which class the model predicts cannot be told. ${note} Or name the class to explain.`,
  );
}
