import type { Tensor } from '../../tensor/tensor.js';
import { readAttribution } from '../maps/attribution-values.js';
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

function meanOf(values: Float32Array): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
