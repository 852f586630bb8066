import { copyFile, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { loadModelWithSidecar, loadSidecar, type Sidecar } from 'node-gradcam';
import { fitsColumns, gradcam, gradcamProcess, photo } from '../helpers/cli.js';
import { temporaryFolder } from '../helpers/package-copy.js';
import { fixturePath } from '../helpers/root.js';

/** A folder with that fixture as model.pt. */
async function folderWith(t: ExecutionContext, fixture: string): Promise<string> {
  const folder = temporaryFolder(t);
  await copyFile(fixturePath(fixture), join(folder, 'model.pt'));
  return folder;
}

async function sidecarOf(folder: string): Promise<Sidecar> {
  return (await loadSidecar(join(folder, 'model.pt'))) as Sidecar;
}

test.serial(
  'the sidecar of a vision transformer: size, layer, reshape transform; explain uses it',
  async (t) => {
    const folder = await folderWith(t, 'transformers/timm-vit.pt');
    const { code, stdout, stderr } = await gradcamProcess(['init-sidecar', 'model.pt'], folder);
    t.is(code, 0, stderr);
    t.is(stderr, '');
    t.regex(stdout, /^wrote model\.json$/m);
    t.regex(stdout, /blocks\.1\.norm1/);
    t.regex(stdout, /before the last attention, \[1, 65, 32\]/);
    t.regex(stdout, /map of 8 x 8/);
    t.regex(stdout, /preset\s'imagenet'/);
    fitsColumns(t, stdout);
    t.deepEqual(await sidecarOf(folder), {
      name: 'model',
      input: {
        width: 64,
        height: 64,
        resize: 73,
        interpolation: 'bilinear',
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
      },
      layer: 'blocks.1.norm1',
      reshapeTransform: { kind: 'tokens', prefixTokens: 1 },
    });
    const explained = await gradcam(['explain', 'model.pt', photo, '-o', 'heat.png', '--json'], folder);
    t.is(explained.code, 0, explained.stderr);
    const [image] = JSON.parse(explained.stdout).images;
    t.is(image.layers[0].path, 'blocks.1.norm1');
    t.deepEqual(image.layers[0].shape, [1, 32, 8, 8]);
    t.true((await readdir(folder)).includes('heat.png'));
  },
);

test.serial('the sidecar of a Swin says that channels are last', async (t) => {
  const folder = await folderWith(t, 'transformers/timm-swin.pt');
  const { code, stderr } = await gradcam(['init-sidecar', 'model.pt', '--size', '64'], folder);
  t.is(code, 0, stderr);
  const { layer, reshapeTransform } = await sidecarOf(folder);
  t.is(layer, 'layers.1.blocks.1.norm1');
  t.deepEqual(reshapeTransform, { kind: 'nhwc' });
});

test.serial(
  'a convolutional model needs no reshape transform; of a dictionary the output is chosen',
  async (t) => {
    const plain = await folderWith(t, 'scripted.pt');
    t.is((await gradcam(['init-sidecar', 'model.pt', '--size', '32'], plain)).code, 0);
    const sidecar = await sidecarOf(plain);
    t.false('reshapeTransform' in sidecar);
    t.false('output' in sidecar);

    const dictionary = await folderWith(t, 'dict-output.pt');
    const run = await gradcam(['init-sidecar', 'model.pt', '--size', '32'], dictionary);
    t.is(run.code, 0, run.stderr);
    t.is((await sidecarOf(dictionary)).output, 'out');
    t.regex(run.stdout, /output +out: \[1, 5\]/);
  },
);

test.serial('gray models are found out', async (t) => {
  const folder = await folderWith(t, 'one-channel.pt');
  const { code, stderr } = await gradcam(['init-sidecar', 'model.pt', '--size', '16'], folder);
  t.is(code, 0, stderr);
  const { input } = await sidecarOf(folder);
  t.is(input.channels, 1);
  t.deepEqual(input.mean, [0.449]);
  t.deepEqual(input.std, [0.226]);
});

test.serial('presets, labels and what the command line changes', async (t) => {
  const folder = await folderWith(t, 'scripted.pt');
  await writeFile(join(folder, 'names.txt'), 'cat\ndog\nbird\nfish\nsnail\n');
  const init = (...args: string[]) => gradcam(['init-sidecar', 'model.pt', '--force', ...args], folder);
  const caffe = await init('--size', '48x64', '--preset', 'caffe', '--labels', 'names.txt');
  t.is(caffe.code, 0, caffe.stderr);
  const sidecar = await sidecarOf(folder);
  t.deepEqual(sidecar.input, {
    width: 64,
    height: 48,
    resize: 54,
    channelOrder: 'bgr',
    valueRange: [0, 255],
    interpolation: 'bilinear',
    mean: [103.939, 116.779, 123.68],
    std: [1, 1, 1],
  });
  t.deepEqual(sidecar.labels, ['cat', 'dog', 'bird', 'fish', 'snail']);
  // Arrays of numbers stand in one line.
  t.regex(await readFile(join(folder, 'model.json'), 'utf8'), /"mean": \[103\.939, 116\.779, 123\.68\]/);

  t.is((await init('--size', '32', '--preset', 'yolo')).code, 0);
  t.like((await sidecarOf(folder)).input, {
    fit: 'contain',
    antialias: false,
    paddingColor: [114, 114, 114],
  });
  t.is((await init('--size', '32', '--preset', 'yolo', '--fit', 'stretch', '--mean', '0.1,0.2,0.3')).code, 0);
  const { input } = await sidecarOf(folder);
  t.is(input.fit, 'stretch');
  t.deepEqual(input.mean, [0.1, 0.2, 0.3]);
  t.false('paddingColor' in input);
  await using described = await loadModelWithSidecar(join(folder, 'model.pt'));
  t.deepEqual((await described.loadImage(photo)).tensor.shape, [1, 3, 32, 32]);

  t.is((await init('--size', '32', '--preset', 'hf-vit', '--fit', 'crop')).code, 0);
  t.false('fit' in (await sidecarOf(folder)).input, "the default, not the preset's 'stretch'");

  t.is((await init('--size', '32')).code, 0);
  t.is((await sidecarOf(folder)).input.resize, 36);
  await using usual = await loadModelWithSidecar(join(folder, 'model.pt'));
  const whole = await usual.loadImage(photo, { fit: 'contain' });
  t.is(whole.geometry.resizedWidth, 32, 'another fit makes the shorter side meaningless');
});

test.serial('what cannot be explained is told, and the rest written', async (t) => {
  const folder = await folderWith(t, 'disconnected.pt');
  const { code, stdout } = await gradcam(['init-sidecar', 'model.pt', '--size', '32'], folder);
  t.is(code, 0);
  t.regex(stdout, /trial +none\n +The target score does not depend on layer 'side'/);
  fitsColumns(t, stdout);

  const methodless = await folderWith(t, 'no_forward.pt');
  const refused = await gradcam(['init-sidecar', 'model.pt'], methodless);
  t.is(refused.code, 3);
  t.regex(refused.stderr, /no forward method.*ERR_NO_FORWARD/);
});

test.serial('a sidecar that is there is kept without --force', async (t) => {
  const folder = await folderWith(t, 'scripted.pt');
  const path = join(folder, 'model.json');
  await writeFile(path, 'precious');
  const refused = await gradcam(['init-sidecar', 'model.pt'], folder);
  t.is(refused.code, 2);
  t.regex(refused.stderr, /^error: 'model\.json' is there already; add --force/);
  t.is(await readFile(path, 'utf8'), 'precious');
  t.is((await gradcam(['init-sidecar', 'model.pt', '--force'], folder)).code, 0);
  t.is((await sidecarOf(folder)).name, 'model');
});

const mistakes: readonly [args: readonly string[], code: number, message: RegExp][] = [
  [['missing.pt'], 3, /missing\.pt/],
  [['model.json'], 2, /'model\.json' is a sidecar/],
  [['model.pt', '--size', '1x3x64x64'], 2, /--size takes/],
  [['model.pt', '--size', '0'], 2, /--size/],
  [['model.pt', '--channels', '4'], 2, /1 or 3/],
  [['model.pt', '--size', '63'], 2, /does not run on an image of 63, .*give its --size/],
  [['model.pt', '--channels', '1'], 2, /does not run on images of 224, .* with 1 channel;/],
  [['model.pt', '--preset', 'best'], 2, /imagenet/],
  [['model.pt', '--layer', 'blocks.9'], 2, /no layer 'blocks\.9'/],
  [['model.pt', '--reshape', 'tokens:x'], 2, /'tokens:1'/],
  [['model.pt', '--std', '1,0,1'], 2, /--std.*positive/],
  [['model.pt', '--mean', '1'], 2, /--mean: expected 3 numbers/],
  [['model.pt', '--fit', 'contain', '--resize', '80'], 2, /--resize: expected no value with fit .contain./],
  [['model.pt', '--labels', 'nowhere.txt'], 2, /nowhere\.txt/],
  [['model.pt', '--labels', 'one.txt'], 2, /1 labels, but the model gives 5/],
];
for (const [args, code, message] of mistakes) {
  test.serial(`init-sidecar ${args.join(' ')} is refused, and writes nothing`, async (t) => {
    const folder = await folderWith(t, 'transformers/timm-vit.pt');
    await writeFile(join(folder, 'one.txt'), 'cat\n');
    const run = await gradcam(['init-sidecar', ...args], folder);
    t.is(run.code, code, run.stderr);
    t.regex(run.stderr, message);
    t.notRegex(run.stderr, /^ +at /m);
    t.deepEqual((await readdir(folder)).sort(), ['model.pt', 'one.txt']);
  });
}

test.serial('layers tells the reshape transform of its suggestion, and explain takes it', async (t) => {
  const folder = await folderWith(t, 'transformers/timm-deit-distilled.pt');
  const layers = await gradcam(['layers', 'model.pt', '--input-size', '64'], folder);
  t.is(layers.code, 0, layers.stderr);
  t.regex(layers.stdout, /^Suggested: blocks\.1\.norm1, the layer before the last attention/m);
  t.regex(layers.stdout, /^ +--reshape tokens:2$/m);
  const explain = (...how: string[]) =>
    gradcam(['explain', 'model.pt', photo, '--size', '64', '--json', '-o', 'heat.png', ...how], folder);
  const explained = await explain('-l', 'blocks.1.norm1', '--reshape', 'tokens:2');
  t.is(explained.code, 0, explained.stderr);
  const [image] = JSON.parse(explained.stdout).images;
  const [suggested] = JSON.parse((await explain()).stdout).images;
  t.deepEqual(image.explained, suggested.explained);
  const without = await explain('-l', 'blocks.1.norm1');
  t.is(without.code, 2);
  t.regex(without.stderr, /reshapeTransform/);
});
