import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { loadImage } from 'node-gradcam';
import { rootPath } from '../helpers/root.js';

// The library reads SVG, of a file and from memory; the server does not (test/server/pictures.test.ts).

const svg = (content: string) =>
  `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="64" height="64">${content}</svg>`;

test('SVG is read', async (t) => {
  const red = svg('<rect width="64" height="64" fill="#f00"/>');
  const path = join(await mkdtemp(join(tmpdir(), 'gradcam-svg-')), 'red.svg');
  await writeFile(path, red);
  for (const source of [path, Buffer.from(red)]) {
    const { rgb } = await loadImage(source, { size: 64, resize: 64 });
    t.deepEqual([...rgb.subarray(0, 3)], [255, 0, 0]);
  }
});

test('an SVG cannot read files of the machine', async (t) => {
  const photo = rootPath('examples/photos/chelsea.png');
  const drawn = svg(
    `<rect width="64" height="64" fill="white"/><image xlink:href="file://${photo}" width="64" height="64"/>`,
  );
  const { rgb } = await loadImage(Buffer.from(drawn), { size: 64, resize: 64 });
  t.true(
    rgb.every((value) => value === 255),
    'all white: the file was not drawn',
  );
});
