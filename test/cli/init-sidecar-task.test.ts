import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { loadSidecar, type Sidecar } from 'node-gradcam';
import { gradcam } from '../helpers/cli.js';
import { temporaryFolder } from '../helpers/package-copy.js';
import { fixturePath } from '../helpers/root.js';
import { testWith } from '../helpers/test-with.js';

// What init-sidecar finds out of a model's task, of torchvision's segmentation models and detectors.

const withTorchvision = testWith('torchvision');

async function draft(t: ExecutionContext, fixture: string, ...args: string[]) {
  const folder = temporaryFolder(t);
  const path = join(folder, 'model.pt');
  await copyFile(fixturePath(fixture), path);
  const { code, stdout, stderr } = await gradcam(['init-sidecar', 'model.pt', ...args], folder);
  t.is(code, 0, stderr);
  return { sidecar: (await loadSidecar(path)) as Sidecar, stdout };
}

test.serial('a segmentation model: its output, and a trial with its pixels', async (t) => {
  const { sidecar, stdout } = await draft(t, 'detection/deeplabv3.pt', '--size', '48x64');
  t.like(sidecar, { task: 'segmentation', output: 'out', layer: 'backbone.layer4' });
  t.regex(stdout, /task +segmentation/);
  t.regex(stdout, /map of 6 x 8/);
  t.regex(stdout, /gradcam serve -m model\.pt/);
});

withTorchvision('a detector: the way to its boxes, and a trial with the surest', async (t) => {
  const { sidecar, stdout } = await draft(
    t,
    'detection/faster_rcnn.pt',
    '--size',
    '64x96',
    '--preset',
    'unit',
  );
  t.like(sidecar, { task: 'detection', output: 1, layer: 'backbone' });
  t.regex(stdout, /task +detection: the outputs are boxes, labels and scores/);
  t.regex(stdout, /trial +an explanation of noise/);
});

test.serial('a list of detections is the output itself', async (t) => {
  const { sidecar } = await draft(t, 'box-targets/finds.pt', '--size', '24');
  t.is(sidecar.task, 'detection');
  t.false('output' in sidecar);
});

test.serial('a classifier says nothing of it, and the command line goes before what is found', async (t) => {
  const { sidecar } = await draft(t, 'scripted.pt', '--size', '32');
  t.false('task' in sidecar);
  const said = await draft(t, 'detection/deeplabv3.pt', '--size', '48x64', '--task', 'classification');
  t.false('task' in said.sidecar);
});
