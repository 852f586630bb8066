import { copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import test from 'ava';
import sharp from 'sharp';
import { demoModel, fitsColumns, gradcam, gradcamProcess, photo, refused } from '../helpers/cli.js';
import { temporaryFolder } from '../helpers/package-copy.js';
import { fixturePath, root } from '../helpers/root.js';

// gradcam explain

test.serial('explain tells the five likeliest classes and the layer, and writes the overlay', async (t) => {
  const folder = temporaryFolder(t);
  await copyFile(photo, join(folder, 'cat.png'));
  const { code, stdout, stderr } = await gradcamProcess(['explain', demoModel, 'cat.png'], folder);
  t.is(code, 0, stderr);
  t.is(stderr, '');
  fitsColumns(t, stdout);
  t.regex(stdout, /^Layer _relu1: the last layer that gives a spatial map/m);
  t.regex(stdout, /^cat\.png$/m);
  t.is(stdout.match(/^ +\d+\.\d% {2}.+ \(\d+\)$/gm)?.length, 5);
  t.regex(stdout, /40\.\d% {2}tiger cat \(282\)/);
  t.regex(stdout, /explained: tiger cat/);
  t.regex(stdout, /written: cat-gradcam\.png/);
  t.deepEqual((await readdir(folder)).sort(), ['cat-gradcam.png', 'cat.png']);
  const { width, height } = await sharp(join(folder, 'cat-gradcam.png')).metadata();
  t.deepEqual([width, height], [224, 224]);
});

test.serial('--json tells the same to programs', async (t) => {
  const folder = temporaryFolder(t);
  const args = [
    'explain',
    demoModel,
    photo,
    '--class',
    'tabby',
    '--class',
    '340',
    '--json',
    '-o',
    'two.webp',
  ];
  const { code, stdout, stderr } = await gradcam(args, folder);
  t.is(code, 0, stderr);
  const { model, images } = JSON.parse(stdout);
  t.is(model, demoModel);
  t.is(images.length, 1);
  const [{ path, output, layers, top, explained, timings }] = images;
  t.deepEqual([path, output], [photo, 'two.webp']);
  t.is(layers[0].path, '_relu1');
  t.is(top.length, 5);
  t.is(top[0].label, 'tiger cat');
  t.true(Math.abs(top[0].probability - 0.403) < 0.01);
  t.deepEqual(
    explained.map(({ classIndex, label }: { classIndex: number; label: string }) => [classIndex, label]),
    [
      [281, 'tabby'],
      [340, 'zebra'],
    ],
  );
  const [{ hasPositiveEvidence, map, score }] = explained;
  t.true(hasPositiveEvidence);
  t.true(score > 5);
  t.true(map.mean > 0 && map.mean < 1 && map.hotShare > 0 && map.hotShare < 1);
  t.true(map.peak.x > 0 && map.peak.x < 224 && map.peak.y > 0 && map.peak.y < 224);
  t.true(timings.forward > 0);
  const metadata = await sharp(join(folder, 'two.webp')).metadata();
  t.is(metadata.format, 'webp');
  t.true((metadata.width ?? 0) > 2 * 224, 'two classes side by side');
});

test.serial(
  '--top draws as many classes; --layer, --size and --image-weight change the result',
  async (t) => {
    const folder = temporaryFolder(t);
    const explain = async (output: string, ...options: string[]) => {
      const { code, stdout, stderr } = await gradcam(
        ['explain', demoModel, photo, '--json', '-o', output, ...options],
        folder,
      );
      t.is(code, 0, stderr);
      return JSON.parse(stdout).images[0];
    };
    const top = await explain('top.png', '--top', '3');
    t.deepEqual(
      top.explained.map(({ classIndex }: { classIndex: number }) => classIndex),
      top.top.slice(0, 3).map(({ classIndex }: { classIndex: number }) => classIndex),
    );
    const other = await explain(
      'other.png',
      '--layer',
      '_blocks.10',
      '--layer',
      '_blocks.12',
      '--size',
      '160x192',
    );
    t.deepEqual(
      other.layers.map(({ path }: { path: string }) => path),
      ['_blocks.10', '_blocks.12'],
    );
    const { width, height } = await sharp(join(folder, 'other.png')).metadata();
    t.deepEqual([width, height], [192, 160]);
    await explain('photo.png', '--image-weight', '1');
    await explain('heat.png', '--image-weight', '0');
    const [kept, heat] = await Promise.all(
      ['photo.png', 'heat.png'].map((name) => readFile(join(folder, name))),
    );
    t.false(kept?.equals(heat ?? kept));
  },
);

test.serial(
  'a folder stands for its pictures; one that cannot be read is reported and the others go on',
  async (t) => {
    const folder = temporaryFolder(t);
    const photos = join(folder, 'photos');
    await mkdir(photos);
    await Promise.all(['b.png', 'a.PNG'].map((name) => copyFile(photo, join(photos, name))));
    await sharp(photo).jpeg().toFile(join(photos, 'b.jpg'));
    await writeFile(join(photos, 'broken.jpg'), 'no picture');
    await writeFile(join(photos, 'notes.txt'), 'no picture either');
    const { code, stdout, stderr } = await gradcam(
      ['explain', demoModel, 'photos', '-o', 'out/maps'],
      folder,
    );
    t.is(code, 1);
    fitsColumns(t, stdout);
    t.regex(stderr, /^error: .*broken\.jpg.*\(ERR_IMAGE_LOAD\)\n$/);
    const files = await readdir(join(folder, 'out', 'maps'));
    t.deepEqual(files.sort(), ['a-gradcam.png', 'b-gradcam-2.png', 'b-gradcam.png']);

    const json = await gradcam(['explain', demoModel, 'photos', '-o', 'out', '--json'], folder);
    t.is(json.code, 1);
    const { images } = JSON.parse(json.stdout);
    t.deepEqual(
      images.map(({ path, error }: { path: string; error?: { code: string } }) => [
        basename(path),
        error?.code,
      ]),
      [
        ['a.PNG', undefined],
        ['b.jpg', undefined],
        ['b.png', undefined],
        ['broken.jpg', 'ERR_IMAGE_LOAD'],
      ],
    );
  },
);

test.serial('an image is never overwritten by its own overlay', async (t) => {
  const folder = temporaryFolder(t);
  const names = ['cat.png', 'cat-gradcam.png'];
  for (const name of names) await copyFile(photo, join(folder, name));
  const { code, stderr } = await gradcam(['explain', demoModel, ...names], folder);
  t.is(code, 0, stderr);
  const original = await readFile(photo);
  for (const name of names) t.true(original.equals(await readFile(join(folder, name))), name);
  t.is((await readdir(folder)).length, 4);
  await refused(t, ['explain', demoModel, 'cat.png', '-o', './cat.png'], 2, /overwrite/, folder);
});

test.serial('a model without a sidecar takes labels and preparation from the command line', async (t) => {
  const folder = temporaryFolder(t);
  await copyFile(demoModel, join(folder, 'net.pt'));
  const names = Array.from({ length: 1000 }, (_, index) => `name ${index}`);
  await writeFile(join(folder, 'names.json'), JSON.stringify(names));
  await writeFile(join(folder, 'names.txt'), `${names.join('\r\n')}\r\n`);
  const preparation = ['--size', '224', '--mean', '0.498,0.498,0.498', '--std', '0.502,0.502,0.502'];
  for (const labels of ['names.json', 'names.txt']) {
    const args = [
      'explain',
      'net.pt',
      photo,
      '--labels',
      labels,
      '--class',
      'name 281',
      '--json',
      ...preparation,
    ];
    const { code, stdout, stderr } = await gradcam(args, folder);
    t.is(code, 0, stderr);
    const [{ top, explained }] = JSON.parse(stdout).images;
    t.true([281, 282, 285].includes(top[0].classIndex));
    t.is(explained[0].label, 'name 281');
  }
  await refused(t, ['explain', 'net.pt', photo, '--class', 'tabby'], 2, /ERR_UNKNOWN_LABEL/, folder);
});

const explainDemo = ['explain', demoModel, photo];
const wrongUsage: readonly [what: string, args: string[], message: RegExp][] = [
  ['no arguments', ['explain'], /missing required argument 'model'/],
  ['an unknown command', ['explian'], /unknown command 'explian'/],
  ['an unknown option', [...explainDemo, '--lyaer', 'x'], /unknown option '--lyaer'/],
  ['a missing image', ['explain', demoModel, 'nowhere.png'], /'nowhere\.png'/],
  ['an empty folder', ['explain', demoModel, join(root, 'lib')], /no pictures in the folder/],
  ['several images into one file', [...explainDemo, photo, '-o', 'a.png'], /2 images/],
  ['--class with --top', [...explainDemo, '--class', '1', '--top', '2'], /--class or --top/],
  ['--top 0', [...explainDemo, '--top', '0'], /at least 1/],
  ['an image weight of 2', [...explainDemo, '--image-weight', '2'], /from 0 to 1/],
  ['a mean that is no number', [...explainDemo, '--mean', 'a,b,c'], /--mean/],
  ['a mean of two', [...explainDemo, '--mean', '0.5,0.5'], /--mean: expected 3 numbers/],
  ['a deviation of 0', [...explainDemo, '--std', '1,0,1'], /--std.*positive/],
  ['a range upside down', [...explainDemo, '--range', '9,3'], /--range.*in this order/],
  [
    'bars with a shorter side',
    [...explainDemo, '--fit', 'contain', '--resize', '9'],
    /--resize: expected no value/,
  ],
  ['a size of letters', [...explainDemo, '--size', 'big'], /--size/],
  ['an unknown device', [...explainDemo, '--device', 'tpu'], /device/],
  ['a missing labels file', [...explainDemo, '--labels', 'nowhere.txt'], /nowhere\.txt/],
  ['an unknown layer', [...explainDemo, '--layer', '_relu'], /'_relu0'.*\(ERR_UNKNOWN_LAYER\)/],
  ['an unknown label', [...explainDemo, '--class', 'tabbby'], /tabby.*\(ERR_UNKNOWN_LABEL\)/],
  ['a class beyond the last', [...explainDemo, '--class', '1000'], /\(ERR_CLASS_OUT_OF_RANGE\)/],
];
for (const [what, args, message] of wrongUsage) {
  test.serial(`wrong usage ends with 2: ${what}`, async (t) => {
    await refused(t, args, 2, message, temporaryFolder(t));
  });
}

const cannotRun: readonly [what: string, args: string[], message: RegExp][] = [
  ['a missing model', ['explain', 'nowhere.pt', photo], /\(ERR_MODEL_NOT_FOUND\)/],
  ['a file that is no model', ['layers', photo], /\(ERR_MODEL_LOAD\)/],
  ['a model for another input', ['explain', fixturePath('one-channel.pt'), photo, photo], /\(ERR_\w+\)/],
];
for (const [what, args, message] of cannotRun) {
  test.serial(`a model that cannot run ends with 3: ${what}`, async (t) => {
    await refused(t, args, 3, message, temporaryFolder(t));
  });
}

test.serial('a wrong sidecar ends with 3', async (t) => {
  const folder = temporaryFolder(t);
  await copyFile(demoModel, join(folder, 'net.pt'));
  await writeFile(join(folder, 'net.json'), '{"inputs": {}}');
  await refused(t, ['explain', 'net.pt', photo], 3, /inputs.*\(ERR_SIDECAR\)/, folder);
});
