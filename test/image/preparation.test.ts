import { crc32, deflateSync } from 'node:zlib';
import test from 'ava';
import { type LoadImageOptions, loadImage } from 'node-gradcam';
import sharp from 'sharp';
import { byteDifference, readJson } from '../helpers/fixtures.js';
import { fixturePath, rootPath } from '../helpers/root.js';

// How pictures become a model's input, other than by resize and crop (load-image.test.ts): against torchvision, Pillow and
// OpenCV, tools/fixtures/pictures/preparation.py.

const photo = rootPath('examples/photos/chelsea.png');

interface PreparedCase {
  readonly source: string;
  readonly options: LoadImageOptions;
  readonly file: string;
}

for (const { source, options, file } of readJson<{ cases: readonly PreparedCase[] }>(
  'preparation/golden.json',
).cases) {
  test(`${JSON.stringify(options)} is as ${source}`, async (t) => {
    const { rgb } = await loadImage(photo, options);
    const expected = await sharp(fixturePath(file)).removeAlpha().raw().toBuffer();
    t.is(rgb.length, expected.length);
    const { mean, largest } = byteDifference(rgb, expected);
    t.log(`mean difference ${mean.toFixed(3)}, largest ${largest} of 255`);
    // Ours and OpenCV's differ by rounding only; Pillow and libvips by their kernels' supports, as in load-image.test.ts.
    t.true(mean < (options.antialias === false ? 0.3 : 1));
    t.true(largest <= (options.antialias === false ? 1 : 12));
  });
}

// Display P3's primaries in linear sRGB (CSS Color 4, section 17), and sRGB's transfer curve, which both have.
const p3ToSrgb = [
  [1.2249401762805598, -0.22494017628055996, 0],
  [-0.042056954709688163, 1.0420569547096881, 0],
  [-0.019637554590334432, -0.078636045550631889, 1.0982736001409663],
];
const decoded = (byte: number) =>
  byte / 255 <= 0.04045 ? byte / 255 / 12.92 : ((byte / 255 + 0.055) / 1.055) ** 2.4;
const encoded = (light: number) =>
  255 * (light <= 0.0031308 ? 12.92 * light : 1.055 * light ** (1 / 2.4) - 0.055);

for (const stored of [
  [150, 100, 90],
  [100, 140, 110],
  [90, 90, 160],
]) {
  test(`colour ${stored} of Display P3 becomes sRGB's, or stays with colorProfile 'ignore'`, async (t) => {
    const [r = 0, g = 0, b = 0] = stored;
    const raw = { raw: { width: 8, height: 8, channels: 3 } } as const;
    const pixels = Uint8Array.from({ length: 8 * 8 * 3 }, (_, index) => stored[index % 3] ?? 0);
    const untagged = await sharp(pixels, raw).png().toBuffer();
    // The profile alone, without a change of the pixels: sharp would convert them.
    const profile = (await sharp(await sharp(pixels, raw).withIccProfile('p3').png().toBuffer()).metadata())
      .icc;
    const tagged = withProfile(untagged, profile as Buffer);
    const light = stored.map(decoded);
    const expected = p3ToSrgb.map((row) =>
      encoded(row.reduce((sum, factor, channel) => sum + factor * (light[channel] ?? 0), 0)),
    );
    for (const [colorProfile, wanted, bound] of [
      ['apply', expected, 1.5],
      ['ignore', [r, g, b], 0],
    ] as const) {
      const image = await loadImage(tagged, { size: 8, resize: 8, colorProfile });
      for (const rgb of [image.rgb, (await image.original()).rgb])
        for (const channel of [0, 1, 2])
          t.true(
            Math.abs((rgb[channel] ?? Number.NaN) - (wanted[channel] ?? 0)) <= bound,
            `${Array.from(rgb.subarray(0, 3))}, not ${wanted}`,
          );
    }
    t.true(expected.some((value, channel) => Math.abs(value - (stored[channel] ?? 0)) > 4));
  });
}

/** A PNG with an iCCP chunk behind its header. */
function withProfile(png: Buffer, profile: Buffer): Buffer {
  const data = Buffer.concat([
    Buffer.from('iCCP'),
    Buffer.from('profile\0\0', 'latin1'),
    deflateSync(profile),
  ]);
  const chunk = Buffer.alloc(8);
  chunk.writeUInt32BE(data.length - 4, 0);
  chunk.writeUInt32BE(crc32(data), 4);
  const header = 8 + 25; // signature, IHDR
  return Buffer.concat([
    png.subarray(0, header),
    chunk.subarray(0, 4),
    data,
    chunk.subarray(4),
    png.subarray(header),
  ]);
}

/** Left half red, right half blue. */
async function redAndBlue(width: number, height: number): Promise<Buffer> {
  const red = { create: { width: width / 2, height, channels: 3, background: 'red' } } as const;
  return sharp({ create: { width, height, channels: 3, background: 'blue' } })
    .composite([{ input: await sharp(red).png().toBuffer(), left: 0, top: 0 }])
    .png()
    .toBuffer();
}

const values = async (source: Buffer, options: LoadImageOptions) =>
  Array.from((await loadImage(source, options)).tensor.toTypedArray() as Float32Array);

test('stretch keeps the whole picture, and its geometry says so', async (t) => {
  const image = await loadImage(await redAndBlue(40, 10), { size: { width: 4, height: 8 }, fit: 'stretch' });
  t.deepEqual(image.geometry, {
    originalWidth: 40,
    originalHeight: 10,
    resizedWidth: 4,
    resizedHeight: 8,
    cropLeft: 0,
    cropTop: 0,
  });
  t.deepEqual([...image.rgb.subarray(0, 3)], [255, 0, 0]);
  t.deepEqual([...image.rgb.subarray(9, 12)], [0, 0, 255]);
});

test('contain puts bars of the colour asked for around the whole picture', async (t) => {
  const image = await loadImage(await redAndBlue(16, 4), {
    size: 9,
    fit: 'contain',
    interpolation: 'nearest',
    paddingColor: [1, 2, 3],
  });
  // 16 x 4 becomes 9 x 2; of the 7 rows left over Pillow puts 4 above.
  t.like(image.geometry, { resizedWidth: 9, resizedHeight: 2, cropTop: -4, cropLeft: 0 });
  t.true(Object.is(image.geometry.cropLeft, 0));
  const row = (y: number) => [...image.rgb.subarray(y * 27, y * 27 + 3)];
  t.deepEqual([0, 3, 4, 5, 6, 8].map(row), [
    [1, 2, 3],
    [1, 2, 3],
    [255, 0, 0],
    [255, 0, 0],
    [1, 2, 3],
    [1, 2, 3],
  ]);
  const black = await loadImage(await redAndBlue(4, 16), { size: 8, fit: 'contain' });
  t.deepEqual([...black.rgb.subarray(0, 3)], [0, 0, 0]);
});

test('bgr gives the model blue first, with mean and deviation in its order; rgb stays to draw on', async (t) => {
  const source = await redAndBlue(2, 1);
  const options = { size: { width: 2, height: 1 }, fit: 'stretch', interpolation: 'nearest' } as const;
  const plain = { mean: [0, 0, 0], std: [1, 1, 1] };
  t.deepEqual(await values(source, { ...options, ...plain }), [1, 0, 0, 0, 0, 1]);
  t.deepEqual(await values(source, { ...options, ...plain, channelOrder: 'bgr' }), [0, 1, 0, 0, 1, 0]);
  const shifted = await values(source, {
    ...options,
    channelOrder: 'bgr',
    mean: [0.25, 0.5, 0.75],
    std: [1, 1, 0.5],
  });
  t.deepEqual(shifted, [-0.25, 0.75, -0.5, -0.5, 0.5, -1.5]);
  const { rgb } = await loadImage(source, { ...options, channelOrder: 'bgr' });
  t.deepEqual([...rgb], [255, 0, 0, 0, 0, 255]);
  // The default mean and deviation are ImageNet's of each colour, whatever the order.
  const standard = await values(source, options);
  const reversed = await values(source, { ...options, channelOrder: 'bgr' });
  t.deepEqual(reversed, [...standard.slice(4), ...standard.slice(2, 4), ...standard.slice(0, 2)]);
});

test('a value range is what black and white become, before mean and deviation', async (t) => {
  const source = await redAndBlue(2, 1);
  const options = { size: { width: 2, height: 1 }, fit: 'stretch', interpolation: 'nearest' } as const;
  const close = (actual: number[], expected: number[]) =>
    t.true(
      actual.every((value, index) => Math.abs(value - (expected[index] ?? Number.NaN)) < 1e-4),
      `${actual}`,
    );
  close(await values(source, { ...options, valueRange: [0, 255] }), [255, 0, 0, 0, 0, 255]);
  close(await values(source, { ...options, valueRange: [-1, 1] }), [1, -1, -1, -1, -1, 1]);
  const caffe = { valueRange: [0, 255], channelOrder: 'bgr', mean: [103.939, 116.779, 123.68] } as const;
  close(
    await values(source, { ...options, ...caffe }),
    [-103.939, 151.061, -116.779, -116.779, 131.32, -123.68],
  );
});

test('without averaging, gray and transparent pictures are prepared as well', async (t) => {
  const options = { size: 8, resize: 8, antialias: false } as const;
  const transparent = await sharp({ create: { width: 20, height: 20, channels: 4, background: '#ff000000' } })
    .png()
    .toBuffer();
  t.deepEqual([...(await loadImage(transparent, options)).rgb.subarray(0, 3)], [255, 255, 255]);
  const gray = await sharp({ create: { width: 20, height: 20, channels: 3, background: '#808080' } })
    .toColourspace('b-w')
    .png()
    .toBuffer();
  for (const channels of [1, 3] as const) {
    const image = await loadImage(gray, { ...options, channels });
    t.deepEqual([...new Set(image.rgb)], [128]);
  }
});

const misuses: readonly [options: object, code: string, message: RegExp][] = [
  [{ fit: 'cover' }, 'ERR_INVALID_ARG_TYPE', /'crop', 'stretch', 'contain'/],
  [{ fit: 'contain', resize: 256 }, 'ERR_OUT_OF_RANGE', /'contain' for resize/],
  [{ paddingColor: [0, 0, 0] }, 'ERR_OUT_OF_RANGE', /paddingColor/],
  [{ fit: 'contain', paddingColor: 'gray' }, 'ERR_INVALID_ARG_TYPE', /paddingColor/],
  [{ fit: 'contain', paddingColor: [0, 0, 256] }, 'ERR_OUT_OF_RANGE', /paddingColor/],
  [{ colorProfile: 'srgb' }, 'ERR_INVALID_ARG_TYPE', /colorProfile/],
  [{ antialias: 'no' }, 'ERR_INVALID_ARG_TYPE', /antialias/],
  [{ antialias: false, interpolation: 'lanczos' }, 'ERR_OUT_OF_RANGE', /lanczos/],
  [{ channelOrder: 'gbr' }, 'ERR_INVALID_ARG_TYPE', /'rgb', 'bgr'/],
  [{ channelOrder: 'bgr', channels: 1 }, 'ERR_OUT_OF_RANGE', /channelOrder/],
  [{ valueRange: [0] }, 'ERR_OUT_OF_RANGE', /valueRange/],
  [{ valueRange: [0, Number.POSITIVE_INFINITY] }, 'ERR_OUT_OF_RANGE', /valueRange/],
  [{ valueRange: 255 }, 'ERR_INVALID_ARG_TYPE', /valueRange/],
];
for (const [options, code, message] of misuses) {
  test(`misuse: ${JSON.stringify(options)} is ${code}`, async (t) => {
    const error = await t.throwsAsync(loadImage(photo, options), { code, message });
    t.true(error instanceof TypeError || error instanceof RangeError);
  });
}
