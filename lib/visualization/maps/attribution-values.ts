import { argumentOutOfRange, invalidArgumentType } from '../../errors/errors.js';
import { Tensor } from '../../tensor/tensor.js';

/** An attribution's values, channel by channel. */
export interface AttributionValues {
  readonly values: Float32Array;
  readonly channels: number;
  readonly width: number;
  readonly height: number;
}

/** @internal */
export function readAttribution(attribution: Tensor, allowed: readonly number[] = [1, 3]): AttributionValues {
  if (!(attribution instanceof Tensor)) throw invalidArgumentType('attribution', 'a Tensor', attribution);
  const { shape } = attribution;
  const [channels = 0, height = 0, width = 0] = shape;
  if (shape.length !== 3 || (allowed.length > 0 && !allowed.includes(channels)) || attribution.size === 0) {
    const expected = allowed.length > 0 ? '[3, H, W] or [1, H, W]' : '[C, H, W]';
    throw argumentOutOfRange(
      'attribution',
      `an attribution of shape ${expected} (take one of several with attributions.at(0))`,
      `[${shape.join(', ')}]`,
    );
  }
  const given = attribution.toTypedArray();
  if (!(given instanceof Float32Array || given instanceof Float64Array))
    throw invalidArgumentType('attribution', 'a floating-point tensor', attribution.dtype);
  const wrong = given.find((value) => !Number.isFinite(value));
  if (wrong !== undefined) throw argumentOutOfRange('attribution', 'finite values', wrong);
  return { values: Float32Array.from(given), channels, width, height };
}
