import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { rootUrl } from '../helpers/root.js';

const tool = (name: string) => import(rootUrl(`tools/gpu/${name}`));

test('the counts and failures of a TAP report are there while it is written', async (t) => {
  const { TapReader } = await tool('tap.mjs');
  const tap = new TapReader();
  tap.read('TAP version 13\nok 1 - cuda › maps\nok 2 - cuda › streams # SKIP\nnot ok 3 - cu');
  t.like(tap, { passed: 1, failed: 0, skipped: 1, skippedTitles: ['cuda › streams'] });
  tap.read(
    'da › half\n  ---\n    name: AssertionError\n    message: Difference\n  ...\n# a comment\nok 4 - a › b\n',
  );
  t.like(tap, { passed: 2, failed: 1 });
  t.deepEqual(tap.failures, [
    { title: 'cuda › half', message: 'name: AssertionError\nmessage: Difference\n' },
  ]);
});

test('a program that takes too long ends, with what it started', async (t) => {
  const { runProgram } = await tool('program.mjs');
  const folder = mkdtempSync(join(tmpdir(), 'gradcam-gpu-kit-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const logFile = join(folder, 'log.txt');
  const run = (script: string, seconds: number) =>
    runProgram(['sh', '-c', script], { cwd: folder, seconds, logFile });
  t.is(await run('echo told; exit 3', 60), 3);
  t.is(readFileSync(logFile, 'utf8'), 'told\n');
  await t.throwsAsync(run('(sleep 2; touch late) & wait', 0.2), { message: /after/ });
  await new Promise((resolve) => setTimeout(resolve, 2500));
  t.false(existsSync(join(folder, 'late')));
});

test('a part of the report is on disk as it begins and as it ends', async (t) => {
  const { Report } = await tool('report.mjs');
  const folder = mkdtempSync(join(tmpdir(), 'gradcam-gpu-kit-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const read = () => JSON.parse(readFileSync(join(folder, 'report.json'), 'utf8'));
  const report = new Report(folder);
  t.true(await report.part('tests', () => t.is(read().parts.tests.status, 'running')));
  t.false(await report.part('bench', () => Promise.reject(new Error('no model'))));
  t.like(read(), { finished: false, parts: { tests: { status: 'passed' }, bench: { message: 'no model' } } });
  t.false(report.finish());
  t.like(read(), { finished: true, passed: false });
});

test('packages come with what they depend on, each from where it is found', async (t) => {
  const { packagesWith } = await tool('packages.mjs');
  const folders: string[] = packagesWith(['sharp', 'ava']);
  for (const name of ['sharp', 'ava', 'detect-libc', 'acorn'])
    t.true(folders.includes(`node_modules/${name}`));
  t.true(folders.includes('node_modules/cli-truncate/node_modules/string-width'));
  t.false(folders.includes('node_modules/typescript'));
});
