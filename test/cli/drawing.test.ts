import { copyFile, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import {
  colormapNames,
  GradCAM,
  imageOptions,
  loadImage,
  loadModel,
  loadSidecar,
  mapOfOriginal,
  tensorToJson,
} from 'node-gradcam';
import sharp from 'sharp';
import { demoModel, fitsColumns, gradcam, photo } from '../helpers/cli.js';
import { temporaryFolder } from '../helpers/package-copy.js';

// How gradcam explain draws.

const explain = ['explain', demoModel, photo];

test.serial('every style is another picture, of what the model saw or of the whole photo', async (t) => {
  const folder = temporaryFolder(t);
  const seen = new Map<string, string>();
  for (const style of ['overlay', 'attention', 'heat', 'contour', 'box', 'mask']) {
    const run = await gradcam([...explain, '--style', style, '-o', `${style}.png`], folder);
    t.is(run.code, 0, run.stderr);
    const { width, height } = await sharp(join(folder, `${style}.png`)).metadata();
    t.deepEqual([width, height], [224, 224]);
    seen.set((await readFile(join(folder, `${style}.png`))).toString('base64'), style);
  }
  t.is(seen.size, 6);
  for (const style of ['overlay', 'contour']) {
    const run = await gradcam([...explain, '--style', style, '--original', '-o', 'original.jpg'], folder);
    t.is(run.code, 0, run.stderr);
    const { width, height, format } = await sharp(join(folder, 'original.jpg')).metadata();
    t.deepEqual([width, height, format], [451, 300, 'jpeg']);
  }
});

test.serial('raw maps go into .npy and .json, one for each class, also of the whole photo', async (t) => {
  const folder = temporaryFolder(t);
  const classes = ['--class', '281', '--class', '340'];
  for (const args of [
    ['-o', 'maps.json'],
    ['-o', 'maps.npy'],
    ['--original', '-o', 'original.json'],
  ]) {
    const run = await gradcam([...explain, ...classes, ...args], folder);
    t.is(run.code, 0, run.stderr);
  }
  const sidecar = await loadSidecar(demoModel);
  if (!sidecar) throw new Error('The demo model lost its sidecar.');
  await using model = await loadModel(demoModel);
  const image = await loadImage(photo, imageOptions(sidecar));
  const { heatmaps } = await new GradCAM({ model }).explain(image.tensor, { targets: [[281, 340]] });
  const read = async (name: string) => JSON.parse(await readFile(join(folder, name), 'utf8'));
  const close = (actual: number[], expected: readonly number[]) =>
    actual.length === expected.length &&
    actual.every((value, index) => Math.abs(value - (expected[index] ?? 9)) < 1e-4);
  const maps = await read('maps.json');
  t.deepEqual(maps.shape, [2, 224, 224]);
  t.true(close(maps.data, tensorToJson(heatmaps).data));
  const npy = await readFile(join(folder, 'maps.npy'));
  t.regex(npy.toString('latin1', 0, 128), /NUMPY.*'<f4'.*\(2, 224, 224\)/);
  t.is(npy.length, 128 + 2 * 224 * 224 * 4);
  const original = await read('original.json');
  t.deepEqual(original.shape, [2, 300, 451]);
  t.true(close(original.data.slice(300 * 451), tensorToJson(mapOfOriginal(image, heatmaps.at(1))).data));
});

test.serial('--format chooses the files of a folder, --colormap their colours', async (t) => {
  const folder = temporaryFolder(t);
  await copyFile(photo, join(folder, 'a.png'));
  await copyFile(photo, join(folder, 'b.png'));
  const pictures = new Set<string>();
  for (const [format, colormap] of [
    ['webp', 'viridis'],
    ['webp', 'magma'],
  ]) {
    const args = ['explain', demoModel, 'a.png', 'b.png', '-o', `${colormap}`];
    const run = await gradcam([...args, '--format', `${format}`, '--colormap', `${colormap}`], folder);
    t.is(run.code, 0, run.stderr);
    t.deepEqual((await readdir(join(folder, `${colormap}`))).sort(), ['a-gradcam.webp', 'b-gradcam.webp']);
    pictures.add((await readFile(join(folder, `${colormap}`, 'a-gradcam.webp'))).toString('base64'));
  }
  t.is(pictures.size, 2);
});

test.serial('the help names all styles and colours within 80 columns', async (t) => {
  const { stdout } = await gradcam(['explain', '--help']);
  fitsColumns(t, stdout);
  for (const name of [...colormapNames, 'overlay', 'attention', 'heat', 'contour', 'box', 'mask'])
    t.true(stdout.includes(`"${name}"`), name);
});

const wrongUsage: readonly [what: string, args: string[], message: RegExp][] = [
  ['an unknown style', ['--style', 'paint'], /overlay.*attention/],
  ['unknown colours', ['--colormap', 'hot'], /viridis/],
  ['a threshold of 2', ['--style', 'box', '--threshold', '2'], /up to 1/],
  ['a threshold of an overlay', ['--threshold', '0.4'], /--threshold changes nothing.*'overlay'/],
  ['colours of a mask', ['--style', 'mask', '--colormap', 'jet'], /--colormap changes nothing/],
  [
    'an image weight of a contour',
    ['--style', 'contour', '--image-weight', '1'],
    /--image-weight changes nothing/,
  ],
  ['a style of raw maps', ['--style', 'mask', '-o', 'a.npy'], /--style changes nothing about raw maps/],
  [
    'colours of raw maps',
    ['--colormap', 'jet', '--format', 'json'],
    /--colormap changes nothing about raw maps/,
  ],
  ['a format of one file', ['--format', 'webp', '-o', 'a.png'], /--format is for folders/],
  [
    "the model's sidecar as output",
    ['-o', demoModel.replace('.pt', '.json')],
    /overwrite the model's sidecar/,
  ],
];
for (const [what, args, message] of wrongUsage) {
  test.serial(`wrong usage ends with 2: ${what}`, async (t) => {
    const run = await gradcam([...explain, ...args], temporaryFolder(t));
    t.is(run.code, 2);
    t.regex(run.stderr, message);
    t.is(run.stdout, '');
  });
}
