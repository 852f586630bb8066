import { mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { Picture, type PictureFormat, type RgbImage, showCamOnImage, sideBySide, Tensor } from 'node-gradcam';
import sharp from 'sharp';
import { colormapTable } from '../../lib/visualization/colours/colormaps.js';
import { maxDifference, readArray, readJson } from '../helpers/fixtures.js';
import { fixturePath } from '../helpers/root.js';

interface Golden {
  readonly jet: number[];
  readonly overlay: {
    readonly image: string;
    readonly map: string;
    readonly shape: [height: number, width: number];
    readonly cases: { readonly imageWeight: number; readonly file: string }[];
  };
}
const golden = readJson<Golden>('overlay/golden.json');
const [height, width] = golden.overlay.shape;
const readRgb = async (file: string) => new Uint8Array(await sharp(fixturePath(file)).raw().toBuffer());
const image = { rgb: await readRgb(golden.overlay.image), width, height };
const map = Tensor.from(readArray({ file: golden.overlay.map, shape: golden.overlay.shape }), [
  height,
  width,
]);

const gray = (level: number): RgbImage => ({ rgb: new Uint8Array(12).fill(level), width: 2, height: 2 });
const flat = (value: number) => Tensor.from(new Float32Array(4).fill(value), [2, 2]);

test('jet is the table of OpenCV', (t) => {
  t.deepEqual(Array.from(colormapTable('jet')), golden.jet);
});

for (const { imageWeight, file } of golden.overlay.cases) {
  test(`image weight ${imageWeight}: every byte as pytorch-grad-cam draws it`, async (t) => {
    const expected = await readRgb(file);
    t.is(maxDifference(showCamOnImage(image, map, { imageWeight }).rgb, expected), 0);
  });
}

test('the image weight is 0.5 and the colours are jet unless told otherwise', (t) => {
  const expected = showCamOnImage(image, map, { imageWeight: 0.5, colormap: 'jet' });
  t.deepEqual(showCamOnImage(image, map).rgb, expected.rgb);
  t.notDeepEqual(showCamOnImage(image, map, { colormap: 'gray' }).rgb, expected.rgb);
});

test('floats from 0 to 1 give what bytes give', (t) => {
  const rgb = Float32Array.from(image.rgb, (value) => value / 255);
  t.deepEqual(showCamOnImage({ ...image, rgb }, map).rgb, showCamOnImage(image, map).rgb);
});

test('where everything is black the overlay is black, not NaN', (t) => {
  const { rgb } = showCamOnImage(gray(0), flat(0), { colormap: 'gray' });
  t.deepEqual(Array.from(rgb), new Array(12).fill(0));
});

const twoByThree = Tensor.from(new Float32Array(6), [2, 3]);
const misuses: readonly [what: string, act: () => unknown, code: string, message: RegExp][] = [
  ['a weight above 1', () => draw({ imageWeight: 1.1 }), 'ERR_OUT_OF_RANGE', /imageWeight/],
  ['a weight of NaN', () => draw({ imageWeight: Number.NaN }), 'ERR_OUT_OF_RANGE', /imageWeight/],
  ['a weight as text', () => draw({ imageWeight: '0.5' }), 'ERR_INVALID_ARG_TYPE', /imageWeight/],
  ['an unknown colour map', () => draw({ colormap: 'constructor' }), 'ERR_INVALID_ARG_TYPE', /'jet'/],
  ['an unknown option', () => draw({ weight: 1 }), 'ERR_UNKNOWN_OPTION', /'weight'/],
  ['a map of another size', () => showCamOnImage(gray(9), twoByThree), 'ERR_OUT_OF_RANGE', /\[2, 2\]/],
  ['NaN in the map', () => showCamOnImage(gray(9), flat(Number.NaN)), 'ERR_OUT_OF_RANGE', /map/],
  ['a map above 1', () => showCamOnImage(gray(9), flat(1.5)), 'ERR_OUT_OF_RANGE', /map/],
  ['a map below 0', () => showCamOnImage(gray(9), flat(-0.1)), 'ERR_OUT_OF_RANGE', /map/],
  ['no map', () => showCamOnImage(gray(9), null as unknown as Tensor), 'ERR_INVALID_ARG_TYPE', /map/],
  ['no image', () => showCamOnImage(null as unknown as RgbImage, flat(1)), 'ERR_INVALID_ARG_TYPE', /image/],
  [
    'image floats above 1',
    () => showCamOnImage({ ...gray(0), rgb: new Float32Array(12).fill(255) }, flat(1)),
    'ERR_OUT_OF_RANGE',
    /floats from 0 to 1/,
  ],
  [
    'too few pixels',
    () => showCamOnImage({ ...gray(0), width: 3 }, flat(1)),
    'ERR_OUT_OF_RANGE',
    /3 x 2 x 3/,
  ],
];
function draw(options: object): Picture {
  return showCamOnImage(gray(9), flat(1), options);
}
for (const [what, act, code, message] of misuses) {
  test(`misuse: ${what} is ${code}`, (t) => {
    const error = t.throws(act, { code, message });
    t.true(error instanceof TypeError || error instanceof RangeError);
  });
}

test('a whole batch instead of one of its maps says how to take one', (t) => {
  const batch = Tensor.from(new Float32Array(4), [1, 2, 2]);
  t.throws(() => showCamOnImage(gray(9), batch), { message: /heatmaps\.at\(0\)/ });
});

test('the extension chooses the format, folders are made, nothing unfinished is left', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'gradcam-overlay-'));
  const picture = showCamOnImage(image, map);
  const formats: Record<string, string> = { png: 'png', jpg: 'jpeg', JPEG: 'jpeg', webp: 'webp' };
  for (const [extension, format] of Object.entries({ ...formats, avif: 'heif' })) {
    const path = join(folder, 'a', 'b', `out.${extension}`);
    await picture.toFile(path);
    const metadata = await sharp(path).metadata();
    t.deepEqual([metadata.format, metadata.width, metadata.height], [format, width, height]);
  }
  const { data, info } = await sharp(join(folder, 'a', 'b', 'out.png'))
    .raw()
    .toBuffer({ resolveWithObject: true });
  t.is(info.channels, 3);
  t.deepEqual(new Uint8Array(data), new Uint8Array(picture.rgb));
  t.is((await readdir(join(folder, 'a', 'b'))).length, 5);
});

test('a file that cannot be written leaves nothing, and what was there stays', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'gradcam-overlay-'));
  await writeFile(join(folder, 'file'), 'here first');
  await t.throwsAsync(showCamOnImage(image, map).toFile(join(folder, 'file', 'out.png')));
  await t.throwsAsync(showCamOnImage(image, map).toFile(join(folder, 'out.bmp')), {
    code: 'ERR_INVALID_ARG_TYPE',
    message: /\.png/,
  });
  t.deepEqual(await readdir(folder), ['file']);
  t.is(await readFile(join(folder, 'file'), 'utf8'), 'here first');
});

test('toBuffer encodes PNG unless told otherwise', async (t) => {
  const picture = showCamOnImage(image, map);
  t.is((await sharp(await picture.toBuffer()).metadata()).format, 'png');
  t.is((await sharp(await picture.toBuffer('webp')).metadata()).format, 'webp');
  await t.throwsAsync(picture.toBuffer('bmp' as PictureFormat), { code: 'ERR_INVALID_ARG_TYPE' });
});

test('sideBySide keeps the pixels of each panel and writes captions below', async (t) => {
  const panels = [
    { picture: image, caption: 'left' },
    { picture: showCamOnImage(image, map), caption: '<tabby> & "co" 43.1%' },
  ];
  const row = await sideBySide(panels);
  t.true(row instanceof Picture);
  const bare = await sideBySide(panels.map(({ picture }) => ({ picture })));
  t.true(bare.height < row.height);
  const gap = (row.width - 2 * width) / 3;
  for (const [index, { picture }] of panels.entries()) {
    const left = gap + index * (width + gap);
    const region = await sharp(row.rgb, { raw: { width: row.width, height: row.height, channels: 3 } })
      .extract({ left, top: gap, width, height })
      .raw()
      .toBuffer();
    t.deepEqual(new Uint8Array(region), new Uint8Array(picture.rgb));
  }
  const below = row.rgb.subarray((gap + height) * row.width * 3);
  t.true(
    below.some((value) => value < 128),
    'the captions are there',
  );
  await t.throwsAsync(sideBySide([]), { instanceOf: RangeError, code: 'ERR_OUT_OF_RANGE' });
});
