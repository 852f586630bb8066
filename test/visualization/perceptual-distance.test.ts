import test from 'ava';
import { applyColormap, type RgbImage, showAttentionMap, Tensor } from 'node-gradcam';
import { golden, readPicture } from '../helpers/drawing.js';
import { noise, readTensor } from '../helpers/fixtures.js';
import { perceptualDistance } from '../helpers/perceptual-distance.js';

const square = (values: readonly number[]): RgbImage => ({
  rgb: Uint8Array.from(values),
  width: 8,
  height: 8,
});
const plain = (level: number) => square(new Array(192).fill(level));
const heat = applyColormap(readTensor(golden.map), 'viridis');

/** The picture moved to the right; what comes in at the left is the edge. */
function shifted({ rgb, width, height }: RgbImage, by: number): RgbImage {
  const moved = Uint8Array.from(rgb, (_, index) => {
    const pixel = Math.floor(index / 3);
    const x = Math.max(0, (pixel % width) - by);
    return rgb[(Math.floor(pixel / width) * width + x) * 3 + (index % 3)] ?? 0;
  });
  return { rgb: moved, width, height };
}

test("the perceptual distance is the mean of scikit-image's CIEDE2000", (t) => {
  const { first, second, meanCiede2000 } = golden.colourDistance;
  const distance = perceptualDistance(square(first), square(second));
  t.log(`${distance.toFixed(3)}, scikit-image ${meanCiede2000.toFixed(3)}`);
  t.true(Math.abs(distance - meanCiede2000) < 0.01);
});

test('it is 0 for equal pictures, 100 between black and white, and the same in both directions', (t) => {
  t.is(perceptualDistance(heat, heat), 0);
  t.true(Math.abs(perceptualDistance(plain(0), plain(255)) - 100) < 0.1);
  const other = applyColormap(readTensor(golden.map), 'magma');
  t.true(Math.abs(perceptualDistance(heat, other) - perceptualDistance(other, heat)) < 1e-9);
});

test('it is below 1 for noise that nobody sees, and grows with the noise', (t) => {
  const noisy = (amount: number) => {
    const random = noise(heat.rgb.length);
    const rgb = Uint8ClampedArray.from(heat.rgb, (value, index) => value + amount * (random[index] ?? 0));
    return { ...heat, rgb: Uint8Array.from(rgb) };
  };
  const distances = [1, 2, 8, 32].map((amount) => perceptualDistance(heat, noisy(amount)));
  t.log(distances.map((distance) => distance.toFixed(2)).join(', '));
  t.true((distances[0] ?? 9) < 1);
  t.deepEqual(
    distances,
    [...distances].sort((a, b) => a - b),
  );
});

test('it is large for wrong colours, a shifted map, a map upside down and swapped channels', async (t) => {
  const [attention] = golden.attentions;
  if (!attention) throw new Error('no attention map in the fixtures');
  const image = await readPicture(golden.image);
  const right = showAttentionMap(image, readTensor(attention.map));
  const swapped = Uint8Array.from(
    right.rgb,
    (_, index) => right.rgb[index - (index % 3) + 2 - (index % 3)] ?? 0,
  );
  const upsideDown = Tensor.from(
    (readTensor(attention.map).toTypedArray() as Float32Array).slice().reverse(),
    attention.map.shape,
  );
  const wrong: Record<string, RgbImage> = {
    'another colour map': showAttentionMap(image, readTensor(attention.map), { colormap: 'viridis' }),
    'four pixels to the right': showAttentionMapShifted(),
    'upside down': showAttentionMap(image, upsideDown),
    'blue for red': { ...right, rgb: swapped },
  };
  function showAttentionMapShifted(): RgbImage {
    return shifted(right, 4);
  }
  for (const [what, picture] of Object.entries(wrong)) {
    const distance = perceptualDistance(right, picture);
    t.log(`${what}: ${distance.toFixed(1)}`);
    t.true(distance > 5, what);
  }
});

test('pictures of different sizes are infinitely different', (t) => {
  t.is(perceptualDistance(heat, plain(0)), Number.POSITIVE_INFINITY);
});
