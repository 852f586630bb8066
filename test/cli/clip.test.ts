import { copyFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import sharp from 'sharp';
import { demoModel, fitsColumns, gradcam, gradcamProcess, photo, refused } from '../helpers/cli.js';
import { temporaryFolder } from '../helpers/package-copy.js';
import { fixturePath } from '../helpers/root.js';

// gradcam clip

const archive = fixturePath('clip/resnet.pt');

test.serial('clip draws the picture and heat for each text, and tells how well each fits', async (t) => {
  const folder = temporaryFolder(t);
  await copyFile(photo, join(folder, 'cat.png'));
  const { code, stdout, stderr } = await gradcamProcess(
    ['clip', archive, 'cat.png', 'the cat', 'a dog'],
    folder,
  );
  t.is(code, 0, stderr);
  t.is(stderr, '');
  t.regex(stdout, /^Layer visual\.layer4$/m);
  t.regex(stdout, /^ +\d+\.\d% +-?0\.\d{3} {2}the cat$/m);
  t.regex(stdout, /^ {2}written: cat-gradcam\.png$/m);
  fitsColumns(t, stdout);
  const { width = 0, height = 0 } = await sharp(join(folder, 'cat-gradcam.png')).metadata();
  t.true(width > 3 * 128 && height > 128); // the picture and two overlays

  const args = [
    'clip',
    archive,
    'cat.png',
    'the cat',
    'a dog',
    '--json',
    '-l',
    'visual.layer3',
    '-o',
    'out.jpg',
  ];
  const json = JSON.parse((await gradcam(args, folder)).stdout);
  t.deepEqual(
    json.texts.map(({ prompt }: { prompt: string }) => prompt),
    ['the cat', 'a dog'],
  );
  t.is(json.layers[0].path, 'visual.layer3');
  const [one, other] = json.texts;
  t.true(Math.abs(one.probability + other.probability - 1) < 1e-9);
  t.is((await sharp(join(folder, 'out.jpg')).metadata()).format, 'jpeg');

  // The attention map is how it is drawn unless another style is asked for; the photo stays beside it.
  const draw = async (...options: string[]) => {
    t.is(
      (await gradcam(['clip', archive, 'cat.png', 'the cat', '-o', 'drawn.png', ...options], folder)).code,
      0,
    );
    return await sharp(join(folder, 'drawn.png')).raw().toBuffer({ resolveWithObject: true });
  };
  const [usual, attention, overlay, original] = [
    await draw(),
    await draw('--style', 'attention'),
    await draw('--style', 'overlay'),
    await draw('--original', '--style', 'contour'),
  ];
  t.is(Buffer.compare(usual.data, attention.data), 0);
  t.not(Buffer.compare(usual.data, overlay.data), 0);
  t.true(original.info.width > 2 * 451, 'the whole photo, twice');
  await gradcam(['clip', archive, 'cat.png', 'the cat', 'a dog', '-o', 'maps.npy'], folder);
  t.regex((await readFile(join(folder, 'maps.npy'))).toString('latin1'), /'shape': \(2, 128, 128\)/);
});

test.serial('clip refuses what is no CLIP, texts that are too long, options without effect', async (t) => {
  await refused(t, ['clip', demoModel, photo, 'a cat'], 3, /no encode_image method.*ERR_NO_FORWARD/);
  await refused(
    t,
    ['clip', archive, photo, 'cat '.repeat(99)],
    2,
    /99 tokens.*truncate.*ERR_PROMPT_TOO_LONG/,
  );
  await refused(t, ['clip', archive, 'no.png', 'cat'], 2, /no file or folder/);
  await refused(t, ['clip', archive, photo, 'cat', '--threshold', '0.2'], 2, /--threshold.*'attention'/);
  await refused(t, ['clip', archive, photo, 'cat', '-l', 'layer4'], 2, /visual\.layer4/);
});
