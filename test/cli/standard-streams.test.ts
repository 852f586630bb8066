import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { buffer, text } from 'node:stream/consumers';
import test from 'ava';
import sharp from 'sharp';
import { photo, program, refused } from '../helpers/cli.js';
import { temporaryFolder } from '../helpers/package-copy.js';
import { fixturePath } from '../helpers/root.js';

// Images on standard input, pictures on standard output, and who reads them.

const tiny = fixturePath('scripted.pt');
const small = ['--size', '32'];
const png = ({ stdout }: { stdout: Buffer }) => sharp(stdout).metadata();

/** The program with something on its standard input. */
async function withInput(args: readonly string[], input: Uint8Array, cwd: string) {
  const child = spawn(process.execPath, [program, ...args], { cwd });
  child.stdin.on('error', () => {}); // It may end before it has read all.
  child.stdin.end(input);
  const [stdout, stderr, [code]] = await Promise.all([
    buffer(child.stdout),
    text(child.stderr),
    once(child, 'close'),
  ]);
  return { code, stdout, stderr };
}

test.serial('an image on standard input, the picture on standard output', async (t) => {
  const folder = temporaryFolder(t);
  const bytes = await readFile(photo);
  for (const args of [
    ['explain', tiny, '-', '-o', '-', ...small],
    ['attribute', tiny, '-', '-o', '-', ...small],
    ['factorize', tiny, '-', '-k', '2', '-o', '-', ...small],
  ]) {
    const run = await withInput(args, bytes, folder);
    t.is(run.code, 0, run.stderr);
    const { format, width } = await png(run);
    t.deepEqual([format, width], ['png', 32], args[0]);
    t.regex(run.stderr, /-/);
  }
  const raw = await withInput(['explain', tiny, '-', '-o', '-', '--format', 'npy', ...small], bytes, folder);
  t.is(raw.stdout.subarray(1, 6).toString(), 'NUMPY');
  const file = await withInput(['explain', tiny, photo, '-o', '-', ...small], bytes, folder);
  t.is((await png(file)).width, 32);
  t.deepEqual(await readdir(folder), []);
  const json = await withInput(['explain', tiny, '-', '--json', ...small], bytes, folder);
  const [{ path, output }] = JSON.parse(json.stdout.toString()).images;
  t.deepEqual([path, output], ['-', 'stdin-gradcam.png']);
  t.deepEqual(await readdir(folder), ['stdin-gradcam.png']);
  const wrong = await withInput(
    ['explain', tiny, '-', '-o', '-', ...small],
    Buffer.from('no picture'),
    folder,
  );
  t.is(wrong.code, 1);
  t.regex(wrong.stderr, /^error: -: .*\(ERR_IMAGE_LOAD\)\n$/);
  t.is(wrong.stdout.length, 0);
});

test.serial('standard streams that are asked for twice are refused', async (t) => {
  const folder = temporaryFolder(t);
  await refused(t, ['explain', tiny, '-', '-'], 2, /give it once/, folder);
  await refused(t, ['explain', tiny, photo, photo, '-o', '-'], 2, /'-' is standard output.*2 images/, folder);
  for (const command of ['explain', 'attribute', 'factorize'])
    await refused(t, [command, tiny, photo, '-o', '-', '--json'], 2, /both need standard output/, folder);
});

test.serial('whoever reads the output may go away', async (t) => {
  const folder = temporaryFolder(t);
  const images = new Array<string>(300).fill(photo);
  const child = spawn(process.execPath, [program, 'explain', tiny, ...images, ...small], { cwd: folder });
  const stderr = text(child.stderr);
  child.stdout.once('data', () => child.stdout.destroy());
  const [code] = await once(child, 'close');
  t.deepEqual([code, await stderr], [141, '']);
  const files = await readdir(folder);
  t.true(files.length < 300);
  t.true(
    files.every((name) => name.endsWith('.png')),
    files.join(),
  );
});
