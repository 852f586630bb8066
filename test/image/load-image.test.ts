import { readFileSync } from 'node:fs';
import test from 'ava';
import { GradCamError, type LoadedImage, type LoadImageOptions, loadImage } from 'node-gradcam';
import sharp from 'sharp';
import { byteDifference, readJson } from '../helpers/fixtures.js';
import { fixturePath, rootPath } from '../helpers/root.js';

const photo = rootPath('examples/photos/chelsea.png');
const jpeg = await sharp(photo).jpeg().toBuffer();
const whole = { size: 8, resize: 8, interpolation: 'nearest' } as const;

interface PreparedCase {
  readonly interpolation: 'bilinear' | 'bicubic';
  readonly resize: number;
  readonly width: number;
  readonly height: number;
  readonly file: string;
}

/** A PNG of one colour. */
function plain(background: string, width = 8, height = 8): Promise<Buffer> {
  return sharp({ create: { width, height, channels: 4, background } })
    .png()
    .toBuffer();
}

function pixel({ rgb, width }: LoadedImage, x: number, y: number): number[] {
  return Array.from(rgb.subarray((y * width + x) * 3, (y * width + x) * 3 + 3));
}

test('the defaults are those of torchvision: 256, centre 224, ImageNet mean and deviation', async (t) => {
  const image = await loadImage(photo);
  t.deepEqual(image.tensor.shape, [1, 3, 224, 224]);
  t.is(image.tensor.dtype, 'float32');
  t.deepEqual(image.geometry, {
    originalWidth: 451,
    originalHeight: 300,
    resizedWidth: 384,
    resizedHeight: 256,
    cropLeft: 80,
    cropTop: 16,
  });
  t.is(image.path, photo);
  t.deepEqual([image.width, image.height, image.rgb.length], [224, 224, 224 * 224 * 3]);
  const values = image.tensor.toTypedArray() as Float32Array;
  const mean = [0.485, 0.456, 0.406];
  const std = [0.229, 0.224, 0.225];
  for (const position of [0, 1, 223, 224, 30_000, 224 * 224 - 1]) {
    for (const channel of [0, 1, 2]) {
      const value = (image.rgb[position * 3 + channel] ?? Number.NaN) / 255;
      const expected = (value - (mean[channel] ?? 0)) / (std[channel] ?? 1);
      t.true(Math.abs((values[channel * 224 * 224 + position] ?? 0) - expected) < 1e-5);
    }
  }
});

for (const [index, prepared] of readJson<{ prepared: PreparedCase[] }>(
  'overlay/golden.json',
).prepared.entries()) {
  const { interpolation, resize, width, height, file } = prepared;
  test(`${index}: resize ${resize}, crop ${width} x ${height}, ${interpolation} as torchvision`, async (t) => {
    const { rgb } = await loadImage(photo, { size: { width, height }, resize, interpolation });
    const expected = await sharp(fixturePath(file)).raw().toBuffer();
    t.is(rgb.length, expected.length);
    const { mean, largest } = byteDifference(rgb, expected);
    t.log(`mean difference ${mean.toFixed(2)}, largest ${largest} of 255`);
    t.true(mean < 1);
    t.true(largest <= 12);
  });
}

test('bytes give what the file gives', async (t) => {
  const fromFile = await loadImage(photo, { size: 32 });
  const fromMemory = await loadImage(new Uint8Array(readFileSync(photo)), { size: 32 });
  t.deepEqual(fromMemory.rgb, fromFile.rgb);
  t.is(fromMemory.path, null);
});

test('the EXIF orientation is applied', async (t) => {
  const red = await plain('red', 8, 8);
  const upright = sharp({ create: { width: 16, height: 8, channels: 3, background: 'blue' } }).composite([
    { input: red, left: 0, top: 0 },
  ]);
  const source = await upright.withMetadata({ orientation: 6 }).png().toBuffer();
  const image = await loadImage(source, {
    size: { width: 8, height: 16 },
    resize: 8,
    interpolation: 'nearest',
  });
  t.deepEqual([image.geometry.originalWidth, image.geometry.originalHeight], [8, 16]);
  t.deepEqual(pixel(image, 4, 1), [255, 0, 0]);
  t.deepEqual(pixel(image, 4, 14), [0, 0, 255]);
});

test('what is transparent becomes white', async (t) => {
  t.deepEqual(pixel(await loadImage(await plain('#ff000000'), whole), 3, 3), [255, 255, 255]);
  const half = pixel(await loadImage(await plain('#ff000080'), whole), 3, 3);
  t.true(half[0] === 255 && Math.abs((half[1] ?? 0) - 127) <= 1, half.join());
});

test('16-bit, gray, palette and CMYK pictures become 8-bit RGB', async (t) => {
  const colour = sharp(await plain('#c86432')).removeAlpha();
  const close = (image: LoadedImage, expected: number[], tolerance: number) =>
    t.true(
      pixel(image, 4, 4).every((value, index) => Math.abs(value - (expected[index] ?? 0)) <= tolerance),
      `${pixel(image, 4, 4)}`,
    );
  const sixteen = await colour.clone().toColourspace('rgb16').png().toBuffer();
  t.is((await sharp(sixteen).metadata()).depth, 'ushort');
  close(await loadImage(sixteen, whole), [200, 100, 50], 1);
  const gray = await colour.clone().toColourspace('b-w').png().toBuffer();
  t.is((await sharp(gray).metadata()).channels, 1);
  const loadedGray = pixel(await loadImage(gray, whole), 4, 4);
  t.is(new Set(loadedGray).size, 1);
  t.is(loadedGray.length, 3);
  const palette = await colour.clone().png({ palette: true }).toBuffer();
  close(await loadImage(palette, whole), [200, 100, 50], 1);
  const cmyk = await colour.clone().toColourspace('cmyk').jpeg({ quality: 100 }).toBuffer();
  t.is((await sharp(cmyk).metadata()).space, 'cmyk');
  // Ink has fewer colours than light.
  close(await loadImage(cmyk, whole), [200, 100, 50], 35);
});

test('channels: 1 gives gray to the model and gray RGB to draw on', async (t) => {
  const image = await loadImage(photo, { size: 16, channels: 1, mean: [0.5], std: [0.25] });
  t.deepEqual(image.tensor.shape, [1, 1, 16, 16]);
  t.is(image.rgb.length, 16 * 16 * 3);
  const [red = 0, green, blue] = pixel(image, 5, 5);
  t.true(red === green && red === blue);
  const value = (image.tensor.toTypedArray() as Float32Array)[5 * 16 + 5] ?? Number.NaN;
  t.true(Math.abs(value - (red / 255 - 0.5) / 0.25) < 1e-5);
});

test('pictures smaller or longer than the crop are enlarged until it fits', async (t) => {
  for (const [width, height] of [
    [1, 1],
    [3, 90],
    [90, 3],
    [7, 5],
  ] as const) {
    const image = await loadImage(await plain('lime', width, height), { size: { width: 24, height: 16 } });
    t.deepEqual(image.tensor.shape, [1, 3, 16, 24]);
    const { resizedWidth, resizedHeight, cropLeft, cropTop } = image.geometry;
    t.true(cropLeft + 24 <= resizedWidth && cropTop + 16 <= resizedHeight);
    t.deepEqual(pixel(image, 23, 15), [0, 255, 0]);
  }
});

const unreadable: readonly [what: string, source: string | Uint8Array, options?: LoadImageOptions][] = [
  ['a missing file', '/nowhere/missing.jpg'],
  ['a folder', fixturePath('.')],
  ['a file that is no picture', fixturePath('golden.json')],
  ['no bytes', new Uint8Array(0)],
  ['random bytes', Uint8Array.from({ length: 500 }, (_, index) => (index * 89) % 251)],
  ['a truncated JPEG', jpeg.subarray(0, jpeg.length / 2)],
  ['a truncated PNG', readFileSync(photo).subarray(0, 100_000)],
  ['more pixels than allowed', photo, { limitInputPixels: 1000 }],
];
for (const [what, source, options] of unreadable) {
  test(`${what} is refused with ERR_IMAGE_LOAD`, async (t) => {
    const error = await t.throwsAsync(loadImage(source, options), { instanceOf: GradCamError });
    t.is(error?.code, 'ERR_IMAGE_LOAD');
    t.true(error?.cause instanceof Error);
    if (typeof source === 'string') {
      t.true(error?.message.includes(source));
      t.is(error?.details.path, source);
    }
  });
}

const misuses: readonly [options: object, code: string, message: RegExp][] = [
  [{ size: 0 }, 'ERR_OUT_OF_RANGE', /size/],
  [{ size: 22.5 }, 'ERR_OUT_OF_RANGE', /size/],
  [{ size: { width: 10 } }, 'ERR_OUT_OF_RANGE', /size\.height/],
  [{ size: 'big' }, 'ERR_INVALID_ARG_TYPE', /size/],
  [{ resize: -1 }, 'ERR_OUT_OF_RANGE', /resize/],
  [{ interpolation: 'toString' }, 'ERR_INVALID_ARG_TYPE', /'bilinear'/],
  [{ channels: 2 }, 'ERR_OUT_OF_RANGE', /channels/],
  [{ mean: [0.5] }, 'ERR_OUT_OF_RANGE', /mean/],
  [{ mean: [0, 0, Number.NaN] }, 'ERR_OUT_OF_RANGE', /mean/],
  [{ std: [1, 1, 0] }, 'ERR_OUT_OF_RANGE', /std/],
  [{ std: 1 }, 'ERR_INVALID_ARG_TYPE', /std/],
  [{ limitInputPixels: 0 }, 'ERR_OUT_OF_RANGE', /limitInputPixels/],
  [{ sizes: 224 }, 'ERR_UNKNOWN_OPTION', /'sizes'/],
];
for (const [options, code, message] of misuses) {
  test(`misuse: ${JSON.stringify(options)} is ${code}`, async (t) => {
    const error = await t.throwsAsync(loadImage(photo, options), { code, message });
    t.true(error instanceof TypeError || error instanceof RangeError);
  });
}

test('misuse: a source that is neither a path nor bytes', async (t) => {
  await t.throwsAsync(loadImage(42 as unknown as string), {
    instanceOf: TypeError,
    code: 'ERR_INVALID_ARG_TYPE',
  });
});
