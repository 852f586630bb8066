import { argumentOutOfRange, invalidArgumentType } from '../../errors/errors.js';
import { Tensor } from '../../tensor/tensor.js';
import { Picture } from '../pictures/picture.js';

/**
 * Signed attributions, such as guided backpropagation's, as a picture: gray where they are average, brighter and darker
 * up to five standard deviations away. pytorch-grad-cam's `deprocess_image`:
 * `0.1 * (x - mean) / (deviation + 1e-5) + 0.5`, cut to 0..1.
 * @param attribution - floating-point `[3, H, W]` or `[1, H, W]`: `attributions.at(0)`
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`
 * @example await deprocessImage(attributions.at(0)).toFile('guided.png');
 */
export function deprocessImage(attribution: Tensor): Picture {
  const { values, channels, width, height } = readAttribution(attribution);
  // In float32 as numpy computes it: the results are truncated to bytes.
  const mean = Math.fround(meanOf(values));
  const centred = values.map((value) => value - mean);
  const deviation = Math.fround(Math.sqrt(meanOf(centred.map((value) => value * value))));
  const divisor = Math.fround(deviation + 1e-5);
  const area = width * height;
  const rgb = new Uint8Array(area * 3);
  for (let index = 0; index < rgb.length; index++) {
    const channel = channels === 1 ? 0 : index % 3;
    const value = centred[channel * area + Math.floor(index / 3)] ?? 0;
    const scaled = Math.fround(Math.fround(value / divisor) * Math.fround(0.1));
    const shifted = Math.min(1, Math.max(0, Math.fround(scaled + 0.5)));
    rgb[index] = Math.trunc(Math.fround(shifted * 255));
  }
  return new Picture(rgb, width, height);
}

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

function meanOf(values: Float32Array): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
