import { mkdtemp, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import test from 'ava';
import {
  applyColormap,
  heatLayer,
  type Panel,
  Picture,
  type PictureFormat,
  type PictureGrid,
  pictureGrid,
  type RgbImage,
  sideBySide,
} from 'node-gradcam';
import sharp from 'sharp';
import { golden, pixelAt } from '../helpers/drawing.js';
import { readTensor } from '../helpers/fixtures.js';

const map = readTensor(golden.map);
const picture = applyColormap(map, 'viridis');
const { width, height } = picture;

function plain(color: readonly number[], size = 60): RgbImage {
  return {
    rgb: Uint8Array.from({ length: size * size * 3 }, (_, index) => color[index % 3] ?? 0),
    width: size,
    height: size,
  };
}

/** Rows of the picture in which something is darker than gray, within some columns. */
function darkRows(image: RgbImage, from = 0, to = image.width): number[] {
  return Array.from({ length: image.height }, (_, y) => y).filter((y) =>
    Array.from({ length: to - from }, (_, x) => pixelAt(image, from + x, y)).some((pixel) =>
      pixel.every((value) => value < 110),
    ),
  );
}

test('a stream gives what the buffer gives, in every format, also into a pipeline', async (t) => {
  for (const format of ['png', 'jpeg', 'webp', 'avif', 'raw'] as const) {
    const expected = await picture.toBuffer(format);
    t.deepEqual(await buffer(picture.toStream(format)), expected, format);
  }
  const chunks: Buffer[] = [];
  await pipeline(picture.toStream(), async (source) => {
    for await (const chunk of source) chunks.push(chunk as Buffer);
  });
  t.is((await sharp(Buffer.concat(chunks)).metadata()).format, 'png');
});

test('raw are the pixels; PNG and WebP give back transparency, JPEG shows white through', async (t) => {
  t.deepEqual(new Uint8Array(await picture.toBuffer('raw')), picture.rgb);
  const layer = heatLayer(map);
  const raw = await layer.toBuffer('raw');
  t.is(raw.length, width * height * 4);
  const decoded = await sharp(await layer.toBuffer('png'))
    .raw()
    .toBuffer({ resolveWithObject: true });
  t.is(decoded.info.channels, 4);
  t.deepEqual(decoded.data, raw);
  t.is((await sharp(await layer.toBuffer('webp')).metadata()).channels, 4);
  const jpeg = await sharp(await layer.toBuffer('jpeg'))
    .raw()
    .toBuffer({ resolveWithObject: true });
  t.is(jpeg.info.channels, 3);
  const coldest = (layer.alpha ?? new Uint8Array()).indexOf(0);
  t.true(coldest >= 0 && (jpeg.data[coldest * 3] ?? 0) > 180, 'white where nothing covers');
});

test('quality makes files larger or smaller, and .raw is a file too', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'gradcam-picture-'));
  const [low, usual] = [await picture.toBuffer('jpeg', { quality: 10 }), await picture.toBuffer('jpeg')];
  t.true(low.length < usual.length);
  await picture.toFile(join(folder, 'out.raw'));
  t.deepEqual(new Uint8Array(await readFile(join(folder, 'out.raw'))), picture.rgb);
  await picture.toFile(join(folder, 'out.jpg'), { quality: 10 });
  t.deepEqual(await readFile(join(folder, 'out.jpg')), low);
});

test('pixels of one’s own become a picture: bytes as they are, floats from 0 to 1', (t) => {
  const floats = { rgb: Float32Array.of(0, 0.5, 1), width: 1, height: 1 };
  t.deepEqual(Array.from(Picture.from(floats).rgb), [0, 128, 255]);
  t.deepEqual(Picture.from(plain([1, 2, 3])).rgb, plain([1, 2, 3]).rgb);
  t.is(Picture.from(picture), picture);
});

test('long captions wrap, and are cut where there is too much; pictures stay where they are', async (t) => {
  const short = await sideBySide([{ picture: plain([0, 128, 0], 200), caption: 'one line' }]);
  const two = await sideBySide([
    { picture: plain([0, 128, 0], 200), caption: 'a caption that is just too long for one line' },
  ]);
  const endless = await sideBySide([
    { picture: plain([0, 128, 0], 200), caption: 'again and again '.repeat(50) },
  ]);
  const oneWord = await sideBySide([{ picture: plain([0, 128, 0], 200), caption: 'x'.repeat(500) }]);
  t.true(two.height > short.height + 10);
  t.is(endless.height, oneWord.height);
  t.is(endless.height - two.height, two.height - short.height, 'three lines at most');
  for (const each of [short, two, endless, oneWord]) {
    t.is(each.width, short.width, 'captions make nothing wider');
    t.deepEqual(pixelAt(each, 8, 8), [0, 128, 0]);
    t.deepEqual(pixelAt(each, each.width - 9, 207), [0, 128, 0]);
  }
});

test('captions stand on one line, with letters that reach down or not', async (t) => {
  const row = await sideBySide(
    ['xxx', 'xgx', 'Éxy'].map((caption) => ({ picture: plain([255, 255, 255], 100), caption })),
  );
  const gap = (row.width - 300) / 4;
  const foot = (index: number) => {
    // The x at the left of each caption: the column where its ink begins.
    const from = gap + index * (100 + gap);
    const columns = Array.from({ length: 100 }, (_, x) => darkRows(row, from + x, from + x + 1));
    const first = columns.find((rows) => rows.length > 0) ?? [];
    return Math.max(...first);
  };
  t.is(foot(0), foot(1));
  t.is(foot(0), foot(2));
});

test('captions may hold anything: markup, emoji, control characters, halves of characters', async (t) => {
  for (const caption of [
    '<b>&amp;</b> "x"',
    '🐱 cat',
    'a\u0000b\u0007',
    '\uD83D',
    '   ',
    '\n\n',
    '猫 قط',
    '%s\\',
  ]) {
    await t.notThrowsAsync(sideBySide([{ picture, caption }]), JSON.stringify(caption));
  }
  t.is((await sideBySide([{ picture, caption: '  ' }])).height, (await sideBySide([{ picture }])).height);
});

test('columns begin new rows; floats and transparent pictures are drawn too', async (t) => {
  const panels: Panel[] = [
    { picture: plain([200, 0, 0]), caption: 'red' },
    { picture: { rgb: new Float32Array(60 * 60 * 3).fill(0.5), width: 60, height: 60 }, caption: 'gray' },
    {
      picture: new Picture(plain([0, 0, 0]).rgb as Uint8Array, 60, 60, new Uint8Array(3600)),
      caption: 'none',
    },
  ];
  const one = await sideBySide(panels);
  const two = await sideBySide(panels, { columns: 2 });
  t.is(one.width - two.width, 60 + (one.width - 180) / 4);
  t.true(two.height > 2 * 60 && one.height < 2 * 60);
  const gap = (one.width - 180) / 4;
  t.deepEqual(pixelAt(one, gap + 5, gap + 5), [200, 0, 0]);
  t.deepEqual(pixelAt(one, 60 + 2 * gap + 5, gap + 5), [128, 128, 128]);
  t.deepEqual(pixelAt(one, 120 + 3 * gap + 5, gap + 5), [255, 255, 255]);
});

test('a grid has its pictures in rows and columns, headers outside, empty places white', async (t) => {
  const [red, green, blue] = [plain([200, 0, 0]), plain([0, 160, 0], 40), plain([0, 0, 200])];
  const grid = await pictureGrid({
    pictures: [
      [red, green],
      [blue, null],
    ],
    rows: ['Grad-CAM', 'Layer-CAM'],
    columns: ['tiger cat', 'zebra'],
  });
  const bare = await pictureGrid({
    pictures: [
      [red, green],
      [blue, null],
    ],
  });
  const find = (color: readonly number[]) => {
    for (let index = 0; index < grid.width * grid.height; index++) {
      const [x, y] = [index % grid.width, Math.floor(index / grid.width)];
      if (pixelAt(grid, x, y).join() === color.join()) return [x, y] as const;
    }
    return [-1, -1] as const;
  };
  const [redX, redY] = find([200, 0, 0]);
  const [greenX, greenY] = find([0, 160, 0]);
  const [blueX, blueY] = find([0, 0, 200]);
  t.is(redX, blueX);
  t.true(redX > 50 && redY > 10, 'beside and below the headers');
  t.is(greenX - redX, blueY - redY, 'equal steps');
  t.is(greenY - redY, 10, 'in the middle of its place');
  t.is(grid.width - bare.width, redX - 8);
  t.is(grid.height - bare.height, redY - 8);
  const rowHeaders = darkRows(grid, 0, redX - 2);
  t.true(
    rowHeaders.some((y) => Math.abs(y - redY - 30) < 8) &&
      rowHeaders.some((y) => Math.abs(y - blueY - 30) < 8),
  );
  t.true(
    darkRows(grid, redX, grid.width).some((y) => y < redY - 4),
    'headers above',
  );
  t.deepEqual(pixelAt(grid, greenX + 20, blueY + 30), [255, 255, 255]);
});

const misuses: readonly [what: string, act: () => unknown, code: string][] = [
  ['an unknown format', () => picture.toBuffer('gif' as PictureFormat), 'ERR_INVALID_ARG_TYPE'],
  ['an unknown format of a stream', () => picture.toStream('gif' as PictureFormat), 'ERR_INVALID_ARG_TYPE'],
  ['a quality of 0', () => picture.toBuffer('jpeg', { quality: 0 }), 'ERR_OUT_OF_RANGE'],
  ['an unknown encode option', () => picture.toBuffer('jpeg', { level: 0 } as never), 'ERR_UNKNOWN_OPTION'],
  ['a file without extension', () => picture.toFile('out'), 'ERR_INVALID_ARG_TYPE'],
  ['a file that is no path', () => picture.toFile(7 as never), 'ERR_INVALID_ARG_TYPE'],
  ['pixels of another size', () => Picture.from({ ...plain([0, 0, 0]), width: 61 }), 'ERR_OUT_OF_RANGE'],
  ['no pixels', () => Picture.from({ rgb: new Uint8Array(0), width: 0, height: 0 }), 'ERR_OUT_OF_RANGE'],
  ['no panels', () => sideBySide([]), 'ERR_OUT_OF_RANGE'],
  ['panels that are none', () => sideBySide(null as never), 'ERR_INVALID_ARG_TYPE'],
  ['a panel without picture', () => sideBySide([{} as never]), 'ERR_INVALID_ARG_TYPE'],
  ['a caption by number', () => sideBySide([{ picture, caption: 7 as never }]), 'ERR_INVALID_ARG_TYPE'],
  ['no columns', () => sideBySide([{ picture }], { columns: 0 }), 'ERR_OUT_OF_RANGE'],
  ['an empty grid', () => pictureGrid({ pictures: [[]] }), 'ERR_OUT_OF_RANGE'],
  ['no grid', () => pictureGrid(undefined as unknown as PictureGrid), 'ERR_INVALID_ARG_TYPE'],
  ['uneven rows', () => pictureGrid({ pictures: [[picture], [picture, picture]] }), 'ERR_OUT_OF_RANGE'],
  [
    'too few headers',
    () => pictureGrid({ pictures: [[picture, picture]], columns: ['a'] }),
    'ERR_OUT_OF_RANGE',
  ],
  [
    'headers by number',
    () => pictureGrid({ pictures: [[picture]], rows: [1] as never }),
    'ERR_INVALID_ARG_TYPE',
  ],
];
for (const [what, act, code] of misuses) {
  test(`misuse: ${what} is ${code}`, async (t) => {
    const error = await t.throwsAsync(async () => act(), { code });
    t.true(error instanceof TypeError || error instanceof RangeError);
  });
}
