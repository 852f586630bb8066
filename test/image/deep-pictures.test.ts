import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { type LoadImageOptions, loadImage, showCamOnImage, Tensor } from 'node-gradcam';
import sharp from 'sharp';
import { gradcam } from '../helpers/cli.js';
import { maxDifference } from '../helpers/fixtures.js';
import { described, golden, scoresPath } from '../helpers/scores.js';

// Pictures of more than eight bits; values by numpy and PyTorch in double precision.

const gray = { size: 32, resize: 32, channels: 1, mean: [0], std: [1] } as const;

for (const { file, bits, range, size = 32, antialias = true, values } of golden.pictures) {
  const how = `${range ?? 'by depth'}, ${size} pixels${antialias ? '' : ', sampled'}`;
  test(`${file}: ${how}`, async (t) => {
    const options: LoadImageOptions = { ...gray, size, resize: size, antialias, ...(range ? { range } : {}) };
    const image = await loadImage(scoresPath(file), options);
    t.is(image.bits, bits);
    t.deepEqual(image.range, range ?? (bits === 16 ? [0, 65_535] : [0, 1]));
    const difference = maxDifference(image.tensor.toTypedArray(), values);
    t.true(difference < 1e-6, `off by ${difference}`);
    const bytes = values.flatMap((value) => Array<number>(3).fill(value * 255));
    t.true(maxDifference(image.rgb, bytes) <= 0.501);
    const { rgb, width } = await image.original();
    t.is(width, 32);
    if (size === 32) t.deepEqual(Buffer.from(rgb), Buffer.from(image.rgb));
  });
}

test('floats of which nobody says what is black are refused, not cut', async (t) => {
  await t.throwsAsync(loadImage(scoresPath('hounsfield.tif'), gray), {
    code: 'ERR_IMAGE_LOAD',
    message: /floats from -1024 to 3071.*`range: \[low, high\]`/,
  });
});

/** A 16-bit RGB or RGBA picture: 4 columns that grow, and one row. */
async function deep(channels: 3 | 4, place: (pixel: number) => readonly number[]): Promise<Buffer> {
  const data = Uint16Array.from([0, 1, 2, 3].flatMap(place));
  return await sharp(data, { raw: { width: 4, height: 1, channels } })
    .toColourspace('rgb16')
    .png({ compressionLevel: 1 })
    .toBuffer();
}

test('16 bits in colour: order, value range, transparency', async (t) => {
  const size = { width: 4, height: 1 };
  const options = { size, resize: 1, mean: [0, 0, 0], std: [1, 1, 1] } as const;
  const rgb = await deep(3, (pixel) => [pixel * 1000, 65_535 - pixel * 77, pixel * 13]);
  const plain = await loadImage(rgb, options);
  t.is(plain.bits, 16);
  const red = [0, 1000, 2000, 3000].map((value) => value / 65_535);
  const blue = [0, 13, 26, 39].map((value) => value / 65_535);
  const values = Array.from(plain.tensor.toTypedArray() as Float32Array);
  t.true(maxDifference(Float32Array.from(values.slice(0, 4)), red) < 1e-6);
  t.true(maxDifference(Float32Array.from(values.slice(8)), blue) < 1e-6);
  const bgr = await loadImage(rgb, { ...options, channelOrder: 'bgr', valueRange: [0, 255] });
  const scaled = Float32Array.from(bgr.tensor.toTypedArray() as Float32Array).slice(0, 4);
  t.true(
    maxDifference(
      scaled,
      blue.map((value) => value * 255),
    ) < 1e-4,
  );
  // Half transparent black is half way to white.
  const clear = await deep(4, (pixel) => [0, 0, 0, [0, 65_535, 32_768, 65_535][pixel] ?? 0]);
  const white = (await loadImage(clear, options)).tensor.toTypedArray().slice(0, 4) as Float32Array;
  t.true(maxDifference(white, [1, 0, 1 - 32_768 / 65_535, 0]) < 1e-6);
});

test('bytes with a range of their own; one from 0 to 255 changes nothing', async (t) => {
  const data = Uint8Array.from([0, 50, 100, 200]);
  const png = await sharp(data, { raw: { width: 4, height: 1, channels: 1 } })
    .png()
    .toBuffer();
  const options = { size: { width: 4, height: 1 }, resize: 1, channels: 1, mean: [0], std: [1] } as const;
  const cut = await loadImage(png, { ...options, range: [50, 150] });
  t.true(maxDifference(cut.tensor.toTypedArray(), [0, 0, 0.5, 1]) < 1e-6);
  t.is(cut.bits, 8);
  const [plain, whole] = await Promise.all([
    loadImage(png, options),
    loadImage(png, { ...options, range: [0, 255] }),
  ]);
  t.deepEqual(plain.tensor.toTypedArray(), whole.tensor.toTypedArray());
  t.deepEqual(plain.range, [0, 255]);
  await t.throwsAsync(loadImage(png, { range: [3, 3] }), { code: 'ERR_OUT_OF_RANGE' });
  await t.throwsAsync(loadImage(png, { range: 4095 as never }), { code: 'ERR_INVALID_ARG_TYPE' });
});

test('bars, and a map drawn over a deep picture', async (t) => {
  const options = { size: { width: 40, height: 32 }, fit: 'contain', range: [0, 4095] } as const;
  const image = await loadImage(scoresPath('twelve-bits.png'), { ...options, paddingColor: [255, 0, 0] });
  t.deepEqual(Array.from(image.rgb.subarray(0, 3)), [255, 0, 0]);
  const map = Tensor.from(new Float32Array(32 * 40).fill(0.5), [32, 40]);
  t.is((await showCamOnImage(image, map).toBuffer('png')).subarray(1, 4).toString(), 'PNG');
});

test('a float picture with NaN, and signed integers', async (t) => {
  const tiff = await readFile(scoresPath('unit.tif'));
  const values = tiff.indexOf(Buffer.from(Float32Array.from([1]).buffer));
  const broken = Buffer.from(tiff);
  broken.writeFloatLE(Number.NaN, values);
  await t.throwsAsync(loadImage(broken, gray), { code: 'ERR_IMAGE_LOAD', message: /NaN/ });
});

const kinds = {
  HEIC: Buffer.from('\0\0\0\x18ftypheic\0\0\0\0mif1heic', 'latin1'),
  DICOM: Buffer.concat([Buffer.alloc(128), Buffer.from('DICM\x02\0\0\0')]),
  'JPEG 2000': Buffer.from('\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 ', 'latin1'),
  BMP: Buffer.from('BM\x46\0\0\0\0\0\0\0\x36\0\0\0', 'latin1'),
};

test('kinds that cannot be read are named, with the cure', async (t) => {
  for (const [name, bytes] of Object.entries(kinds)) {
    const message = new RegExp(`it is ${name}, .*convert`);
    await t.throwsAsync(loadImage(bytes), { code: 'ERR_IMAGE_LOAD', message });
    const path = join(await mkdtemp(join(tmpdir(), 'gradcam-kinds-')), 'file.bin');
    await writeFile(path, bytes);
    await t.throwsAsync(loadImage(path), { code: 'ERR_IMAGE_LOAD', message });
  }
});

test.serial('a folder with such files: each is told, and the others are explained', async (t) => {
  const { model, folder } = await described('logits', { scores: 'logits' });
  await Promise.all([
    writeFile(join(folder, 'b.heic'), kinds.HEIC),
    writeFile(join(folder, 'IM0001'), kinds.DICOM),
    writeFile(join(folder, 'c.bmp'), kinds.BMP),
    writeFile(join(folder, 'notes'), 'no picture'),
  ]);
  const run = await gradcam(['explain', model, folder, '-o', join(folder, 'out'), '--json']);
  t.is(run.code, 1);
  const { images } = JSON.parse(run.stdout) as { images: { path: string; error?: { message: string } }[] };
  t.is(images.length, 4);
  const failed = images.flatMap(({ error }) => (error ? [error.message] : []));
  t.is(failed.length, 3);
  for (const kind of ['HEIC', 'DICOM', 'BMP']) t.true(failed.some((message) => message.includes(kind)));
  t.regex(run.stderr, /IM0001/);
});
