import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import test from 'ava';

// Every code of lib/errors.ts is in docs/errors.md and expected by a test, and no other code is anywhere.

const root = fileURLToPath(new URL('../../', import.meta.url));
const read = (path: string) => readFileSync(`${root}${path}`, 'utf8');
const filesOf = (folder: string, kind: RegExp) =>
  readdirSync(`${root}${folder}`, { recursive: true, encoding: 'utf8' })
    .filter((name) => kind.test(name))
    .map((name) => ({ name: `${folder}/${name}`, text: read(`${folder}/${name}`) }));

const codesIn = (text: string) => new Set(text.match(/ERR_[A-Z_]+/g) ?? []);

const union = /export type GradCamErrorCode =([^;]*);/.exec(read('lib/errors.ts'))?.[1] ?? '';
const failures = [...codesIn(union)];
const misuses = ['ERR_INVALID_ARG_TYPE', 'ERR_OUT_OF_RANGE', 'ERR_UNKNOWN_OPTION'];
const documented = [...read('docs/errors.md').matchAll(/^\| `(ERR_[A-Z_]+)` \| ([^|]+)\|/gm)];

test('docs/errors.md describes every code, once, and no other', (t) => {
  t.true(failures.length >= 25);
  t.deepEqual(documented.map(([, code]) => code).sort(), [...failures, ...misuses].sort());
  for (const [, code, meaning] of documented) t.true((meaning ?? '').trim().length > 10, code);
});

test('every code that the sources use is described', (t) => {
  const known = codesIn(read('docs/errors.md'));
  for (const { name, text } of [...filesOf('lib', /\.ts$/), ...filesOf('native', /\.(cc|h)$/)]) {
    for (const code of codesIn(text)) t.true(known.has(code), `${name}: ${code}`);
  }
});

test('every code is expected by a test', (t) => {
  const tests = filesOf('test', /\.test\.ts$/).filter(({ name }) => !name.endsWith('error-codes.test.ts'));
  const raised = new Set(
    tests.flatMap(({ text }) => [...text.matchAll(/['"`](ERR_[A-Z_]+)['"`]/g)].map(([, code]) => code)),
  );
  t.deepEqual(
    [...failures, ...misuses].filter((code) => !raised.has(code)),
    [],
  );
});
