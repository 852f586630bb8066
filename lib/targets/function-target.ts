import type { NativeTarget, NativeTensor, TensorReference } from '../addon/addon.js';
import { GradCamError, invalidArgumentType } from '../errors/errors.js';
import { Tensor } from '../tensor/tensor.js';

/**
 * A target as a function: makes the score, a tensor of one element, of what the model gives for one image (a row of the
 * output), with the operations of `Tensor`. It is called on the JavaScript thread, once per image and target (methods
 * without gradients: once per run of the model), while the model's forward and backward stay on the library's threads;
 * so it must not be async, and an executor waits for it. `output` is disposed when it returns.
 * @example cam.explain(image, { targets: (output) => output.select(0, 281).sub(output.select(0, 282)) });
 */
export type TargetFunction = (output: Tensor) => Tensor;

/** What a function threw, until the failure of its job comes back: the native module carries messages only. */
const thrown = new WeakMap<object, unknown>();

/** @internal */
export function toFunctionTarget(score: TargetFunction): NativeTarget {
  const callScore = (native: NativeTensor): TensorReference => {
    try {
      using output = Tensor.fromNative(native);
      const result: unknown = score(output);
      if (result instanceof Tensor) {
        // The output itself is about to be disposed; a sum of its one element is as good.
        return Tensor.reference(result === output ? result.sum() : result);
      }
      const promise = typeof (result as Promise<unknown> | null)?.then === 'function';
      throw invalidArgumentType(
        "the target function's result",
        promise ? 'a Tensor (not a promise: the function must not be async)' : 'a Tensor',
        result,
      );
    } catch (error) {
      thrown.set(callScore, error);
      throw error;
    }
  };
  return { kind: 'function', function: callScore };
}

/**
 * Runs a job that may call target functions; when one threw, what it threw becomes the failure's `cause`.
 * @internal
 */
export async function withFunctionTargets<T>(
  targets: readonly (readonly NativeTarget[])[],
  run: () => Promise<T>,
): Promise<T> {
  try {
    return await run();
  } catch (failure) {
    const ofTarget = targets.flat().find((target) => target.function && thrown.has(target.function));
    if (!(failure instanceof GradCamError) || !ofTarget?.function) throw failure;
    const cause = thrown.get(ofTarget.function);
    const error = new GradCamError(failure.code, failure.message, { cause, details: failure.details });
    if (failure.stack) error.stack = failure.stack;
    throw error;
  }
}
