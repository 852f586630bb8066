import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import {
  GradCAM,
  GuidedBackprop,
  guidedGradCam,
  IntegratedGradients,
  imageOptions,
  loadImage,
  loadModel,
  loadSidecar,
  Saliency,
  type Tensor,
  tensorToNpy,
} from 'node-gradcam';
import sharp from 'sharp';
import { demoModel, gradcam, gradcamProcess, photo } from '../helpers/cli.js';
import { temporaryFolder } from '../helpers/package-copy.js';

// `gradcam attribute` and `gradcam factorize`; the values are test/cam/attribution.test.ts' business.

test.serial('every method writes the values that the library gives, and a picture of its own', async (t) => {
  const folder = temporaryFolder(t);
  const sidecar = await loadSidecar(demoModel);
  if (!sidecar) throw new Error('The demo model lost its sidecar.');
  await using model = await loadModel(demoModel);
  const { tensor } = await loadImage(photo, imageOptions(sidecar));
  const targets = 281;
  const expected: Record<string, () => Promise<Tensor>> = {
    saliency: async () => (await new Saliency({ model }).attribute(tensor, { targets })).attributions,
    guidedbackprop: async () =>
      (await new GuidedBackprop({ model }).attribute(tensor, { targets })).attributions,
    integratedgradients: async () =>
      (await new IntegratedGradients({ model, steps: 4 }).attribute(tensor, { targets })).attributions,
    guidedgradcam: async () =>
      await guidedGradCam(new GradCAM({ model }), new GuidedBackprop({ model }), tensor, { targets }),
  };
  const pictures = new Set<string>();
  for (const [method, compute] of Object.entries(expected)) {
    const run = (file: string) =>
      gradcam(
        ['attribute', demoModel, photo, '-m', method, '--steps', '4', '-c', 'tabby', '-o', file],
        folder,
      );
    const raw = await run(`${method}.npy`);
    t.is(raw.code, 0, raw.stderr);
    t.true((await readFile(join(folder, `${method}.npy`))).equals(tensorToNpy(await compute())), method);
    t.is((await run(`${method}.png`)).code, 0);
    const { width, height } = await sharp(join(folder, `${method}.png`)).metadata();
    t.deepEqual([width, height], [224, 224]);
    pictures.add((await readFile(join(folder, `${method}.png`))).toString('base64'));
  }
  t.is(pictures.size, 4);
  const args = ['attribute', demoModel, photo, '-m', 'saliency', '-c', 'tabby', '-o', 'program.npy'];
  const { code, stderr } = await gradcamProcess(args, folder);
  t.deepEqual([code, stderr], [0, '']);
  const [ofProgram, here] = await Promise.all(
    ['program.npy', 'saliency.npy'].map((name) => readFile(join(folder, name))),
  );
  t.true(here && ofProgram?.equals(here));
});

test.serial('factorize draws the concepts, with a legend where a linear layer names them', async (t) => {
  const folder = temporaryFolder(t);
  const plain = await gradcamProcess(['factorize', demoModel, photo, '-k', '3', '-o', 'plain.png'], folder);
  t.deepEqual([plain.code, plain.stderr], [0, '']);
  t.regex(plain.stdout, /^Layer _relu1: .*\n3 concepts after \d+ rounds\nwritten: plain\.png\n$/);
  const named = await gradcam(
    ['factorize', demoModel, photo, '-k', '3', '--linear', '_fc', '-o', 'named.png'],
    folder,
  );
  t.is(named.code, 0, named.stderr);
  const width = async (file: string) => (await sharp(join(folder, file)).metadata()).width;
  t.is(await width('plain.png'), 224);
  t.true((await width('named.png')) > 300);
});

test.serial('what cannot be done is refused in a sentence', async (t) => {
  const folder = temporaryFolder(t);
  const refused: readonly [string[], RegExp][] = [
    [['attribute', demoModel, photo, '-m', 'magic'], /Allowed choices/],
    [['attribute', demoModel, photo, '-c', 'no such thing'], /ERR_UNKNOWN_LABEL/],
    [['attribute', demoModel, 'nothing.png'], /no file or folder/],
    [['factorize', demoModel, photo, '--linear', 'nope'], /ERR_UNKNOWN_LAYER/],
    [['factorize', demoModel, photo, '-k', '0'], /at least 1/],
    [['factorize', demoModel, photo, '-l', 'nope'], /ERR_UNKNOWN_LAYER/],
  ];
  for (const [args, message] of refused) {
    const { code, stderr } = await gradcam(args, folder);
    t.is(code, 2, stderr);
    t.regex(stderr, message);
  }
});
