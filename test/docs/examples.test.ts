import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import sharp from 'sharp';
import type { RequirementName } from '../helpers/requirements.js';
import { root } from '../helpers/root.js';
import { testWith } from '../helpers/test-with.js';

// The programs that docs/examples.md shows, run as it says.

const page = await readFile(join(root, 'docs', 'examples.md'), 'utf8');
const model = 'examples/models/efficientnet_lite0.pt';
const photo = 'examples/photos/chelsea.png';

interface Example {
  readonly name: string;
  /** What comes before the path of the picture. */
  readonly inputs?: readonly string[];
  readonly says: RegExp;
  readonly picture?: string;
  /** How many frames the picture has. */
  readonly frames?: number;
  /** Why it cannot run here. */
  readonly needs?: RequirementName;
}

const examples: readonly Example[] = [
  { name: 'quick-start', inputs: [model, photo], says: /: what speaks for tiger cat at _relu1$/ },
  {
    name: 'classify',
    inputs: [model, photo],
    says: /: tiger cat \d\d\.\d%, Egyptian cat \d\d\.\d%, tabby \d\d\.\d%$/,
  },
  {
    name: 'clip-by-text',
    inputs: ['test/fixtures/clip/resnet.pt', photo],
    says: /: the cat \(-?\d\.\d{3}\), the sofa \(-?\d\.\d{3}\)$/,
  },
  {
    name: 'segmentation',
    inputs: ['test/fixtures/detection/fcn.pt', photo],
    says: /: categories \d+, \d+$/,
  },
  {
    name: 'detection',
    inputs: ['test/fixtures/detection/faster_rcnn.pt', photo],
    says: /: [1-9]\d* boxes, at backbone$/,
    needs: 'torchvision',
  },
  { name: 'yolo-head', says: /: score \d\.\d{3}$/ },
  {
    name: 'vit',
    inputs: ['test/fixtures/transformers/timm-deit-distilled.pt', photo],
    says: /: 4 methods at blocks\.1\.norm1$/,
  },
  { name: 'compare-methods', says: /: 4 methods x 3 classes$/ },
  { name: 'custom-target', says: /: tiger cat: \d+\.\d\d; tiger cat, not tabby: \d+\.\d\d$/ },
  {
    name: 'video-frames',
    says: /: 24 frames in \d+\.\d s, \d+ batches$/,
    picture: 'picture.webp',
    frames: 24,
  },
  { name: 'worker-threads', says: /: tabby, tiger cat, lynx, Egyptian cat$/ },
];

for (const { name, inputs = [], says, picture = 'picture.png', frames, needs } of examples) {
  const declare = needs ? testWith(needs) : test.serial; // side by side they would be slow
  declare(name, async (t: ExecutionContext) => {
    const path = join(await mkdtemp(join(tmpdir(), 'gradcam-example-')), picture);
    const args = [join(root, 'dist', 'examples', `${name}.js`), ...inputs, path];
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: root });
    t.regex(stdout.trimEnd(), says);
    const written = sharp(path, { animated: true });
    t.true((await written.stats()).entropy > 3, 'the picture shows something');
    t.is((await written.metadata()).pages, frames);
  });
}

test.serial('batch-of-files: a broken photo is told, the others are drawn', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'gradcam-example-'));
  for (const width of [200, 300, 400])
    await sharp(join(root, photo))
      .resize(width)
      .toFile(join(folder, `cat-${width}.jpg`));
  await writeFile(join(folder, 'broken.jpg'), 'no picture');
  const program = join(root, 'dist', 'examples', 'batch-of-files.js');
  const run = promisify(execFile)(process.execPath, [program, folder, join(folder, 'out')], { cwd: root });
  const { code, stdout } = await t.throwsAsync<Error & { code?: number; stdout?: string }>(run);
  t.is(code, 1);
  t.regex(stdout ?? '', /^broken\.jpg {2}not explained: .*\n(cat-\d00\.jpg {2}.*\n){3}\n4 photos, /);
  t.deepEqual((await readdir(join(folder, 'out'))).sort(), ['cat-200.png', 'cat-300.png', 'cat-400.png']);
});

test('the page shows each example with its command and picture, and each is short', async (t) => {
  const shown = [...page.matchAll(/^## .*\(\.\.\/examples\/([\w-]+)\.ts\)$/gm)].map(([, name]) => name ?? '');
  for (const { name } of examples) t.true(shown.includes(name), name);
  const pictures = [...page.matchAll(/\]\(examples\/([\w-]+\.webp)\)/g)].map(([, name]) => name ?? '');
  t.deepEqual((await readdir(join(root, 'docs', 'examples'))).sort(), pictures.sort());
  for (const name of shown) {
    t.regex(page, new RegExp(`^node dist/examples/${name}\\.js`, 'm'));
    const lines = (await readFile(join(root, 'examples', `${name}.ts`), 'utf8')).split('\n').length - 1;
    t.true(lines < 60, `${name}: ${lines} lines`);
  }
});
