import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { loadModel } from 'node-gradcam';
import { gradcam } from '../helpers/cli.js';
import { temporaryFolder } from '../helpers/package-copy.js';
import { fixturePath } from '../helpers/root.js';

// gradcam convert, and exported programs on the command line.

test.serial('convert writes TorchScript, and over no file unless it is told to', async (t) => {
  const folder = temporaryFolder(t);
  await copyFile(fixturePath('exported/dynamic-batch.pt2'), join(folder, 'a model.pt2'));
  const first = await gradcam(['convert', 'a model.pt2', 'out/model.pt'], folder);
  t.is(first.code, 0, first.stderr);
  t.is(first.stdout.trim(), 'out/model.pt');
  await using model = await loadModel(join(folder, 'out', 'model.pt'));
  t.is(model.format, 'torchscript');
  const again = await gradcam(['convert', 'a model.pt2', 'out/model.pt'], folder);
  t.is(again.code, 2);
  t.regex(again.stderr, /There is 'out\/model\.pt' already; --force overwrites it/);
  t.is((await gradcam(['convert', 'a model.pt2', 'out/model.pt', '--force'], folder)).code, 0);
});

test.serial('EXPECTED FAILURE - convert of what is no program', async (t) => {
  const folder = temporaryFolder(t);
  const script = await gradcam(['convert', fixturePath('scripted.pt'), 'model.pt'], folder);
  t.not(script.code, 0);
  t.regex(script.stderr, /TorchScript already/);
  const none = await gradcam(['convert', 'nowhere.pt2', 'model.pt'], folder);
  t.regex(none.stderr, /There is no model file/);
});

test.serial('layers and explain take a program', async (t) => {
  const folder = temporaryFolder(t);
  await copyFile(fixturePath('exported/dynamic-batch.pt2'), join(folder, 'model.pt2'));
  const layers = await gradcam(['layers', 'model.pt2', '--input-size', '12'], folder);
  t.is(layers.code, 0, layers.stderr);
  t.regex(layers.stdout, /^body +Sequential +\[1, 8, 6, 6\] +<- suggested$/m);
  await copyFile(fixturePath('../../examples/photos/chelsea.png'), join(folder, 'cat.png'));
  const explain = await gradcam(
    ['explain', 'model.pt2', 'cat.png', '--size', '12', '-o', 'heat.png'],
    folder,
  );
  t.is(explain.code, 0, explain.stderr);
});
