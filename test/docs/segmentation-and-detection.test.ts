import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { detectionPath } from '../helpers/detection-fixtures.js';
import { root } from '../helpers/root.js';
import { testWith } from '../helpers/test-with.js';

// The programs of docs/segmentation-and-detection.md, run with the small models of the fixtures.

const page = readFileSync(join(root, 'docs', 'segmentation-and-detection.md'), 'utf8');
const programs = [...page.matchAll(/^```js\n(.*?)^```$/gms)].map(([, program]) => program ?? '');

const files: Record<string, string> = {
  'deeplabv3_resnet50.pt': detectionPath('fcn.pt'),
  'fasterrcnn_resnet50_fpn.pt': detectionPath('faster_rcnn.pt'),
  'yolo.pt': detectionPath('yolo.pt'),
  'best_boxes.pt': detectionPath('best_boxes.pt'),
  'street.jpg': join(root, 'examples', 'photos', 'chelsea.png'),
};

const run = async (args: string[]) =>
  (await promisify(execFile)(process.execPath, args, { cwd: root })).stdout;

test('the page has its three programs', (t) => {
  t.is(programs.length, 3);
});

for (const [index, program] of programs.entries()) {
  const title = ['segmentation', 'detection', 'a head like YOLO’s'][index];
  const declare = index === 1 ? testWith('torchvision') : test.serial;
  declare(`the page's program: ${title}`, async (t: ExecutionContext) => {
    const folder = await mkdtemp(join(tmpdir(), 'gradcam-docs-'));
    const pictures = [...program.matchAll(/'([a-z]+\.png)'/g)].map(([, name]) => name as string);
    const here = program
      .replace(/'([\w.]+\.(?:pt|jpg))'/g, (_, name: string) => JSON.stringify(files[name] ?? name))
      .replace(/'([a-z]+\.png)'/g, (_, name: string) => JSON.stringify(join(folder, name)))
      .replace(/`\$\{name\}\.png`/, `\`${folder}/\${name}.png\``)
      .replace(/(width|height): \d+/g, '$1: 128')
      .replace(/size: \d+/g, 'size: 128');
    const output = await run(['--input-type=module', '--eval', here]);
    t.regex(output, [/^category \d+ on \d+ pixels$/m, /^[1-9]\d* boxes/m, /^score \d\.\d\d$/m][index] ?? /./);
    for (const name of index === 1 ? ['eigen.png', 'grad.png', 'ablation.png'] : pictures)
      t.true(existsSync(join(folder, name)), name);
  });
}
