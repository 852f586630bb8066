import type { ExecutionContext } from 'ava';
import type { Model, Tensor, TensorData } from 'node-gradcam';
import { maxDifference } from './fixtures.js';
import { sharedModel } from './shared-models.js';

// How far results may be from the float64 result: the model in double precision, by the reference (fixtures hold its
// values, see tools/fixtures/shared/float64_result.py) or, where two of our ways are compared, by our plain path, which is
// itself compared with the reference here.

/** The ways in which every fixture is explained. */
export const ways = [
  { optimize: true, dtype: 'auto' },
  { optimize: false, dtype: 'auto' },
  { optimize: false, dtype: 'float64' },
] as const;
export type Way = (typeof ways)[number];

export type Values = Tensor | TensorData | readonly number[];

const valuesOf = (values: Values): TensorData | readonly number[] =>
  'toTypedArray' in values ? values.toTypedArray() : values;

export const largestOf = (values: Values): number =>
  Array.from(valuesOf(values) as Float32Array, Number).reduce(
    (most, value) => Math.max(most, Math.abs(value)),
    0,
  );

/**
 * Fails if `actual` is further from the float64 result than four times the reference's own float32 result, plus 1e-5. That
 * is for values of 0 to 1; outputs and scores may be larger, and 1e-5 then is of the largest (`scale`). A model in double
 * precision has only its results rounded to float32: 1e-6.
 */
export function closeToFloat64(
  t: ExecutionContext,
  what: string,
  actual: Values,
  expected: Values,
  { referenceError, dtype = 'auto', scale }: { referenceError: number; dtype?: Way['dtype']; scale?: number },
): void {
  const error = maxDifference(
    Float64Array.from(valuesOf(actual) as Float32Array, Number),
    valuesOf(expected) as number[],
  );
  const unit = scale ?? Math.max(1, largestOf(expected));
  const bound = dtype === 'float64' ? 1e-6 * unit : 4 * referenceError + 1e-5 * unit;
  t.true(
    error <= bound,
    `${what}: ${error} from the float64 result, where ${bound} is allowed (the reference's own float32 result: ${referenceError})`,
  );
}

interface Yardstick {
  readonly plain: Values;
  readonly exact: Values;
}

/** What `explain` gives on our plain path, in float32 and in float64. */
export async function yardstick(
  path: string,
  explain: (plainly: { readonly model: Model; readonly optimize: false }) => Promise<Values>,
): Promise<Yardstick> {
  const [plain, exact] = [
    await explain({ model: await sharedModel(path, 'float32'), optimize: false }),
    await explain({ model: await sharedModel(path, 'float64'), optimize: false }),
  ];
  return { plain, exact };
}

/** {@link closeToFloat64} for another of our ways, with our plain path as the reference. */
export function asCloseAs(
  t: ExecutionContext,
  what: string,
  actual: Values,
  { plain, exact }: Yardstick,
): void {
  const referenceError = maxDifference(valuesOf(plain) as TensorData, valuesOf(exact) as number[]);
  closeToFloat64(t, what, actual, exact, { referenceError });
}
