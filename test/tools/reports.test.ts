import test from 'ava';
import { root, rootUrl } from '../helpers/root.js';

// How the tools judge what sanitizers and npm report: a fault must not pass for none.

const { isOurs, isOurRace } = await import(rootUrl('tools/checks/sanitizers/reports.mjs'));
const { judgeAudit } = await import(rootUrl('tools/checks/package/audit.mjs'));
const { checkContent, deadLinks } = await import(rootUrl('tools/checks/package/content.mjs'));

const frames = {
  allocation: '    #0 0x7f in operator new(unsigned long) asan_new_delete.cpp:95',
  node: '    #1 0xc5 in napi_create_external (/usr/bin/node+0xc50413)',
  v8: '    #1 0x11 in v8::internal::Page::Page() (/usr/bin/node+0x11a0684)',
  ours: '    #2 0x7f in gradcam::fromTensor() /src/native/binding/conversions.cc:174',
  stripped: '    #2 0x7f (/src/build/cmake/gradcam.node+0x28a2)',
  libtorch: '    #1 0x7f in at::empty() (/cache/libtorch_cpu.so+0x1)',
};
const stack = (...names: (keyof typeof frames)[]) => names.map((name) => frames[name]).join('\n');

test('a leak is ours where our code allocated, itself or through LibTorch, and not where Node did', (t) => {
  t.true(isOurs(stack('allocation', 'ours', 'v8')));
  t.true(isOurs(stack('allocation', 'stripped', 'node')));
  t.true(isOurs(stack('allocation', 'libtorch', 'ours', 'v8')));
  t.false(isOurs(stack('allocation', 'node', 'ours')));
  t.false(isOurs(stack('allocation', 'v8')));
  t.false(isOurs(stack('allocation', 'libtorch')));
});

test('a race is ours where one of its accesses is in our code, whoever made the memory', (t) => {
  const race = (first: string, second: string, location: string) =>
    `WARNING: ThreadSanitizer: data race (pid=1)\n  Read of size 4 at 0x1 by main thread:\n${first}\n\n` +
    `  Previous write of size 4 at 0x1 by thread T9:\n${second}\n\n  Location is heap block:\n${location}\n`;
  t.true(isOurRace(race(stack('v8'), stack('ours'), stack('v8'))));
  t.true(isOurRace(race(stack('stripped'), '    [failed to restore the stack]', stack('v8'))));
  t.false(isOurRace(race(stack('v8'), stack('v8'), stack('ours'))));
  t.true(isOurRace('WARNING: ThreadSanitizer: something else'), 'what is not understood counts');
});

test('npm audit: findings fail, a registry without it is said, all else fails', (t) => {
  const found = { vulnerabilities: { total: 2 } };
  t.throws(() => judgeAudit(JSON.stringify({ metadata: found, vulnerabilities: { a: {}, b: {} } })), {
    message: /found 2: a, b/,
  });
  t.is(judgeAudit(JSON.stringify({ metadata: { vulnerabilities: { total: 0 } } })), 'no known weakness');
  t.regex(judgeAudit('{"statusCode":405,"message":"405 Method Not Allowed"}'), /^NOT ASKED.*405/);
  t.throws(() => judgeAudit('{"message":"ECONNREFUSED"}'), { message: /failed: ECONNREFUSED/ });
  t.throws(() => judgeAudit(''), { message: /no JSON/ });
});

test('the tarball: what is missing, foreign or too large fails', (t) => {
  const check = (paths: string[], size = 1e6) =>
    checkContent({ files: paths.map((path) => ({ path })), size, unpackedSize: size }, root);
  t.throws(() => check(['README.md', 'test/engine/engine.test.ts']), {
    message: /should not be: test\/engine/,
  });
  t.throws(() => check(['README.md']), { message: /not in the tarball: dist\/lib\/index\.js/ });
  const pages = ['docs/server.md', 'docs/sidecar.md'];
  t.true(deadLinks(pages, root).includes('../examples/server-client.ts of docs/server.md'));
  t.false(deadLinks(pages, root).includes('sidecar.md of docs/server.md'));
});
