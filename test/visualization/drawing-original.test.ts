import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import {
  type Drawing,
  drawOnOriginal,
  heatLayer,
  type LoadedImage,
  type LoadImageOptions,
  loadImage,
  mapOfOriginal,
  Picture,
  type RgbImage,
  showContoursOnImage,
  Tensor,
} from 'node-gradcam';
import sharp from 'sharp';
import { pixelAt } from '../helpers/drawing.js';

interface Square {
  readonly left: number;
  readonly top: number;
  readonly side: number;
}

/** Green, with one red square: a photo in which one place is known. */
async function photoWith(
  { left, top, side }: Square,
  width: number,
  height: number,
  orientation = 1,
): Promise<Buffer> {
  const red = { create: { width: side, height: side, channels: 3, background: 'red' } } as const;
  const upright = await sharp({ create: { width, height, channels: 3, background: '#00a000' } })
    .composite([{ input: await sharp(red).png().toBuffer(), left, top }])
    .removeAlpha()
    .raw()
    .toBuffer();
  // What a camera that was turned stores: the pixels turned back, and how to turn them for a viewer.
  const turnedBack = { 1: 0, 3: 180, 6: 270, 8: 90 }[orientation] ?? 0;
  return await sharp(upright, { raw: { width, height, channels: 3 } })
    .rotate(turnedBack)
    .withMetadata({ orientation })
    .png()
    .toBuffer();
}

/** 1 where the model saw red: a model that knows exactly where the square is. */
function mapOfRed({ rgb, width, height }: LoadedImage): Tensor {
  const map = Float32Array.from({ length: width * height }, (_, pixel) =>
    (rgb[pixel * 3] ?? 0) > 128 ? 1 : 0,
  );
  return Tensor.from(map, [height, width]);
}

/** Where pixels fulfil a condition: left, top, right and bottom, the last two just outside. */
function extent({ width, height }: RgbImage, isInside: (x: number, y: number) => boolean): number[] {
  let [left, top, right, bottom] = [width, height, 0, 0];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!isInside(x, y)) continue;
      [left, top] = [Math.min(left, x), Math.min(top, y)];
      [right, bottom] = [Math.max(right, x + 1), Math.max(bottom, y + 1)];
    }
  }
  return [left, top, right, bottom];
}

const white: Drawing = (seen, heat) => {
  const values = heat.toTypedArray() as Float32Array;
  const rgb = Uint8Array.from({ length: values.length * 3 }, (_, index) =>
    (values[Math.floor(index / 3)] ?? 0) >= 0.5 ? 255 : 0,
  );
  return { rgb, width: seen.width, height: seen.height };
};

interface Geometry extends LoadImageOptions {
  readonly what: string;
  readonly photo: readonly [width: number, height: number];
  readonly square: Square;
  readonly orientation?: number;
}

const geometries: readonly Geometry[] = [
  { what: 'wide, its centre cut out', photo: [600, 400], square: { left: 250, top: 130, side: 60 } },
  { what: 'high, its centre cut out', photo: [300, 701], square: { left: 100, top: 400, side: 50 } },
  {
    what: 'nothing cut off',
    photo: [500, 500],
    square: { left: 310, top: 80, side: 70 },
    size: 224,
    resize: 224,
  },
  {
    what: 'seen as a rectangle',
    photo: [640, 480],
    square: { left: 200, top: 200, side: 80 },
    size: { width: 320, height: 128 },
    resize: 320,
  },
  {
    what: 'much of it cut off',
    photo: [400, 400],
    square: { left: 180, top: 190, side: 40 },
    size: 64,
    resize: 200,
  },
  {
    what: 'all of a wide photo, with bars above and below',
    photo: [600, 400],
    square: { left: 40, top: 130, side: 60 },
    fit: 'contain',
  },
  {
    what: 'all of a high photo, with bars at its sides',
    photo: [300, 700],
    square: { left: 200, top: 620, side: 50 },
    fit: 'contain',
    size: { width: 256, height: 192 },
  },
  {
    what: 'stretched',
    photo: [600, 400],
    square: { left: 500, top: 20, side: 70 },
    fit: 'stretch',
  },
  { what: 'enlarged for the model', photo: [90, 60], square: { left: 40, top: 25, side: 12 } },
  {
    what: 'EXIF 3: upside down',
    photo: [600, 400],
    square: { left: 220, top: 90, side: 50 },
    orientation: 3,
  },
  {
    what: 'EXIF 6: turned right',
    photo: [400, 600],
    square: { left: 120, top: 330, side: 50 },
    orientation: 6,
  },
  {
    what: 'EXIF 8: turned left',
    photo: [400, 600],
    square: { left: 230, top: 180, side: 50 },
    orientation: 8,
  },
];

for (const { what, photo, square, orientation, ...options } of geometries) {
  test(`${what}: the heat lies where the model saw it, to a pixel`, async (t) => {
    const [width, height] = photo;
    const image = await loadImage(await photoWith(square, width, height, orientation), {
      ...options,
      interpolation: 'nearest',
    });
    const map = mapOfRed(image);
    const { left, top, side } = square;
    const expected = [left, top, left + side, top + side];

    const whole = mapOfOriginal(image, map);
    t.deepEqual([...whole.shape], [height, width]);
    const values = whole.toTypedArray() as Float32Array;
    const picture = await drawOnOriginal(image, map, white);
    t.deepEqual([picture.width, picture.height], [width, height]);
    const found = {
      map: extent(picture, (x, y) => (values[y * width + x] ?? 0) >= 0.5),
      picture: extent(picture, (x, y) => pixelAt(picture, x, y)[1] === 255),
    };
    t.log(`${expected} expected, ${found.map} found`);
    for (const [index, value] of expected.entries()) {
      t.true(Math.abs((found.map[index] ?? -9) - value) <= 1, `map ${index}`);
      t.true(Math.abs((found.picture[index] ?? -9) - value) <= 1, `picture ${index}`);
    }

    // And the photo itself is upright: red where it belongs.
    const original = await image.original();
    t.deepEqual(
      extent(original, (x, y) => (pixelAt(original, x, y)[0] ?? 0) > 128),
      expected,
    );
  });
}

test('the edge of what the model saw is where the cut was', async (t) => {
  const image = await loadImage(await photoWith({ left: 0, top: 0, side: 9 }, 600, 400), { size: 224 });
  const ones = Tensor.from(new Float32Array(224 * 224).fill(1), [224, 224]);
  const { resizedWidth, resizedHeight, cropLeft, cropTop } = image.geometry;
  const expected = [
    (cropLeft * 600) / resizedWidth,
    (cropTop * 400) / resizedHeight,
    ((cropLeft + 224) * 600) / resizedWidth,
    ((cropTop + 224) * 400) / resizedHeight,
  ];
  const values = mapOfOriginal(image, ones).toTypedArray() as Float32Array;
  t.deepEqual(new Set(values), new Set([0, 1]));
  const found = extent(
    { rgb: new Uint8Array(0), width: 600, height: 400 },
    (x, y) => values[y * 600 + x] === 1,
  );
  t.log(`${expected.map((value) => value.toFixed(2))}: ${found}`);
  for (const [index, value] of expected.entries()) t.true(Math.abs((found[index] ?? -9) - value) <= 0.5);
});

test('of a photo with bars around it nothing is cut off, and nothing of the bars is drawn', async (t) => {
  for (const [width, height] of [
    [600, 400],
    [301, 700],
  ] as const) {
    const photo = await photoWith({ left: 0, top: 0, side: 9 }, width, height);
    const image = await loadImage(photo, { size: 224, fit: 'contain' });
    const ones = Tensor.from(new Float32Array(224 * 224).fill(1), [224, 224]);
    const values = mapOfOriginal(image, ones).toTypedArray() as Float32Array;
    t.deepEqual(new Set(values), new Set([1])); // every pixel was seen
    const plain = await drawOnOriginal(image, ones, (seen) => seen);
    t.is(Buffer.compare(plain.rgb, (await image.original()).rgb), 0);
  }
});

test('what the model did not see is dimmed, or plain; a transparent heat layer shows the photo below', async (t) => {
  const square = { left: 290, top: 190, side: 20 };
  const image = await loadImage(await photoWith(square, 600, 400), { size: 200, resize: 200 });
  const nothing = Tensor.from(new Float32Array(40_000), [200, 200]);
  const layer: Drawing = (_seen, heat) => heatLayer(heat);
  const dim = await drawOnOriginal(image, nothing, layer);
  const plain = await drawOnOriginal(image, nothing, layer, { outside: 'plain' });
  t.is(Buffer.compare(plain.rgb, (await image.original()).rgb), 0);
  const [red, green, blue] = pixelAt(dim, 5, 5);
  t.true(red === green && green === blue && (green ?? 255) < 80);
  t.deepEqual(pixelAt(dim, 300, 200), [255, 0, 0]);
  t.deepEqual(pixelAt(dim, 150, 200), [0, 160, 0]);
});

test('a map of the layer’s own size lies where the enlarged one does', async (t) => {
  const image = await loadImage(await photoWith({ left: 0, top: 0, side: 9 }, 600, 400), {
    size: 200,
    resize: 200,
  });
  // Four places; each covers 200 of the photo's pixels, of which the outer 100 are beyond the middle of the place.
  const values = mapOfOriginal(image, Tensor.from([1, 0, 0, 0], [2, 2])).toTypedArray() as Float32Array;
  const at = (x: number, y: number) => values[y * 600 + x] ?? Number.NaN;
  t.is(at(110, 10), 1);
  t.is(at(190, 90), 1);
  t.true(Math.abs(at(299, 50) - 0.5) < 0.01 && Math.abs(at(150, 199) - 0.5) < 0.01);
  t.is(at(99, 10), 0);
  t.is(at(450, 350), 0);
});

test('every drawing fits: contours, also those that wait', async (t) => {
  const square = { left: 250, top: 150, side: 100 };
  const image = await loadImage(await photoWith(square, 600, 400), { interpolation: 'nearest' });
  const picture = await drawOnOriginal(image, mapOfRed(image), (seen, heat) =>
    showContoursOnImage(seen, heat, { color: [255, 255, 255], lineWidth: 2 }),
  );
  t.true(picture instanceof Picture);
  t.deepEqual(
    [249, 250, 349, 350].map((x) => pixelAt(picture, x, 200).every((value) => value > 150)),
    [true, true, true, true],
  );
  t.deepEqual(pixelAt(picture, 300, 200), [255, 0, 0]);
});

test('the original is read again, not kept: a changed or missing file is ERR_IMAGE_LOAD', async (t) => {
  const path = join(await mkdtemp(join(tmpdir(), 'gradcam-original-')), 'photo.png');
  await writeFile(path, await photoWith({ left: 0, top: 0, side: 9 }, 60, 40));
  const image = await loadImage(path, { size: 32 });
  t.deepEqual([(await image.original()).width, (await image.original()).height], [60, 40]);
  await writeFile(path, await photoWith({ left: 0, top: 0, side: 9 }, 61, 40));
  await t.throwsAsync(image.original(), { code: 'ERR_IMAGE_LOAD', message: /changed.*60 x 40.*61 x 40/ });
  await writeFile(path, 'no picture');
  await t.throwsAsync(image.original(), { code: 'ERR_IMAGE_LOAD' });
  const gone = await loadImage(await photoWith({ left: 0, top: 0, side: 9 }, 60, 40), { size: 32 });
  t.deepEqual((await gone.original()).rgb.length, 60 * 40 * 3);
});

test('gray and transparent originals are RGB on white', async (t) => {
  const source = { create: { width: 30, height: 20, channels: 4, background: '#00000000' } } as const;
  const transparent = await loadImage(await sharp(source).png().toBuffer(), { size: 16 });
  t.deepEqual(new Set((await transparent.original()).rgb), new Set([255]));
  const gray = await sharp({ create: { width: 30, height: 20, channels: 3, background: '#808080' } })
    .toColourspace('b-w')
    .png()
    .toBuffer();
  t.is((await (await loadImage(gray, { size: 16 })).original()).rgb.length, 30 * 20 * 3);
});

const loaded = async () => loadImage(await photoWith({ left: 0, top: 0, side: 9 }, 60, 40), { size: 32 });
const map = Tensor.from(new Float32Array(1024), [32, 32]);
const misuses: readonly [what: string, act: () => unknown, code: string][] = [
  ['no image', () => drawOnOriginal(null as unknown as LoadedImage, map), 'ERR_INVALID_ARG_TYPE'],
  [
    'an image without geometry',
    () => mapOfOriginal({ width: 1, height: 1 } as never, map),
    'ERR_INVALID_ARG_TYPE',
  ],
  [
    'no map',
    async () => drawOnOriginal(await loaded(), undefined as unknown as Tensor),
    'ERR_INVALID_ARG_TYPE',
  ],
  [
    'a batch of maps',
    async () => drawOnOriginal(await loaded(), Tensor.from([0], [1, 1, 1])),
    'ERR_OUT_OF_RANGE',
  ],
  [
    'a drawing that is none',
    async () => drawOnOriginal(await loaded(), map, 'overlay' as never),
    'ERR_INVALID_ARG_TYPE',
  ],
  [
    'another outside',
    async () => drawOnOriginal(await loaded(), map, undefined, { outside: 'blur' as never }),
    'ERR_INVALID_ARG_TYPE',
  ],
  [
    'a drawing of another size',
    async () => drawOnOriginal(await loaded(), map, () => ({ rgb: new Uint8Array(3), width: 1, height: 1 })),
    'ERR_OUT_OF_RANGE',
  ],
];
for (const [what, act, code] of misuses) {
  test(`misuse: ${what} is ${code}`, async (t) => {
    await t.throwsAsync(async () => act(), { code });
  });
}
