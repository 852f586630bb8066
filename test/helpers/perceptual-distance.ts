import { converter, differenceCiede2000 } from 'culori';
import type { RgbImage } from 'node-gradcam';

const toLab = converter('lab65');
const difference = differenceCiede2000();

/**
 * How different two pictures look: the mean colour difference of their pixels, CIEDE2000. 0 for equal pictures; people
 * hardly see differences below 1, and 100 lies between black and white.
 */
export function perceptualDistance(first: RgbImage, second: RgbImage): number {
  if (first.width !== second.width || first.height !== second.height) return Number.POSITIVE_INFINITY;
  let sum = 0;
  for (let index = 0; index < first.rgb.length; index += 3)
    sum += difference(labOf(first, index), labOf(second, index));
  return sum / (first.width * first.height);
}

function labOf({ rgb }: RgbImage, index: number) {
  const [r = 0, g = 0, b = 0] = Array.from(rgb.subarray(index, index + 3), (value) => value / 255);
  return toLab({ mode: 'rgb', r, g, b });
}
