import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import sharp from 'sharp';
import { root } from '../helpers/root.js';

const runExample = (name: string, ...args: string[]) =>
  promisify(execFile)(process.execPath, [join(root, 'dist', 'examples', name), ...args], { cwd: root });

test.serial('the demo sees a cat, tells why, and draws it', async (t) => {
  const picture = join(root, 'output', 'demo.png');
  await rm(picture, { force: true });
  const { stdout, stderr } = await runExample('demo.js');
  t.is(stderr, '');
  t.log(stdout);
  for (const line of stdout.split('\n')) t.true(line.length <= 80, line);
  const classes = stdout.match(/^ +\d+\.\d% .*$/gm) ?? [];
  t.is(classes.length, 5);
  t.regex(classes[0] ?? '', /cat|tabby/);
  t.regex(stdout, /^Layer: \S+, the last layer/m);
  for (const stage of ['load the model', 'load the photo', 'forward', 'backward', 'map', 'draw and write']) {
    t.regex(stdout, new RegExp(`^ +${stage} +\\d+\\.\\d ms$`, 'm'));
  }
  t.regex(stdout, /output\/demo\.png/);

  const { width = 0, height = 0 } = await sharp(picture).metadata();
  t.true(width > 2 * 224 && height > 224);
  const bluePixels = async (left: number) => {
    const region = sharp(picture).extract({ left, top: 10, width: 200, height: 200 }).removeAlpha();
    const pixels = await region.raw().toBuffer();
    let count = 0;
    for (let index = 0; index < pixels.length; index += 3) {
      if ((pixels[index + 2] ?? 0) > (pixels[index] ?? 0) + 30) count++;
    }
    return count;
  };
  // The cold part of jet is blue; a brown cat is not.
  const [photo, overlay] = [await bluePixels(10), await bluePixels(width - 210)];
  t.log(`${photo} blue pixels in the photo, ${overlay} in the overlay`);
  t.true(photo < 400 && overlay > 8000);
});

test.serial('the drawing example makes every picture that docs/drawing.md shows', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'gradcam-example-'));
  await runExample('drawing.js', folder);
  const page = await readFile(join(root, 'docs', 'drawing.md'), 'utf8');
  const shown = [...page.matchAll(/\]\(drawing\/([\w-]+\.webp)\)/g)].map(([, name]) => name ?? '').sort();
  t.true(shown.length >= 7);
  t.deepEqual((await readdir(folder)).sort(), shown);
  t.deepEqual((await readdir(join(root, 'docs', 'drawing'))).sort(), shown);
  for (const name of shown) {
    const { dominant, entropy } = await sharp(join(folder, name)).stats();
    t.true(entropy > 1, `${name} is not empty: ${JSON.stringify(dominant)}`);
  }
});
