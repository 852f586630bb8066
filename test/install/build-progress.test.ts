import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { temporaryFolder } from '../helpers/package-copy.js';
import { rootUrl } from '../helpers/root.js';

// What an install says while it compiles, and how many compilers it starts.

const { BuildProgress } = await import(rootUrl('scripts/build-progress.mjs'));
const { jobsAtOnce } = await import(rootUrl('scripts/jobs.mjs'));

const gibibytes = (count: number) => count * 1024 ** 3;

test('as many compilers as cores, as far as 2.5 GiB for each go, and at least one', (t) => {
  t.is(jobsAtOnce(2.5, { cores: 8, memory: gibibytes(64) }), 8);
  t.is(jobsAtOnce(2.5, { cores: 8, memory: gibibytes(8) }), 3);
  t.is(jobsAtOnce(2.5, { cores: 2, memory: gibibytes(2) }), 1);
  t.true(jobsAtOnce(2.5) >= 1);
});

const built = (name: string, position: number) => `[${position}/9] Building CXX object ${name}.cc.o\n`;

test('each file that is compiled is counted, of all there are, however the output is cut into pieces', (t) => {
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, 'compile_commands.json'), JSON.stringify(new Array(3).fill({})));
  const written: string[] = [];
  let now = 0;
  const progress = new BuildProgress(folder, {
    stream: { isTTY: false, write: (text: string) => written.push(text) },
    now: () => now,
  });
  const text = `-- Generating done\n${built('one', 1)}[2/9] Linking CXX static library\n${built('two', 3)}`;
  progress.read(text.slice(0, 30));
  now = 12_000;
  progress.read(text.slice(30));
  t.deepEqual(written, ['compiled 2 of 3 files, 12 s\n']);
  now = 13_000;
  progress.read(built('three', 4));
  t.is(written.length, 1, 'no two lines within five seconds');
});

test('on a terminal one line is written again and again, and gone at the end', (t) => {
  const written: string[] = [];
  const progress = new BuildProgress(temporaryFolder(t), {
    stream: { isTTY: true, write: (text: string) => written.push(text) },
    now: () => 0,
  });
  progress.read('[ 10%] Building CXX object a.cc.o\n');
  progress.end();
  t.deepEqual(written, ['\r\u001B[Kcompiled 1 of ? files, 0 s', '\r\u001B[K']);
});
