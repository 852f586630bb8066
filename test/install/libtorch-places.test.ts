import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import ava from 'ava';
import { makeLibTorch, makePython, makeWheel, sandbox, serve } from '../helpers/fake-libtorch.js';
import { failure, resolveLibTorch } from '../helpers/libtorch-resolver.js';
import { rootUrl } from '../helpers/root.js';

// Where LibTorch is looked for, and what of it is believed.
// One at a time: each install listens to the process's signals.
const test = ava.serial;

test('LIBTORCH comes first, and may be the root, a torch package or the folder around them', async (t) => {
  const { folder, bin, env, cached } = sandbox(t);
  makeLibTorch(cached);
  makePython(bin, 'python3', { torch: makeLibTorch(join(folder, 'site-packages', 'torch')) });
  const unpacked = makeLibTorch(join(folder, 'unpacked', 'libtorch'));
  const wheel = makeLibTorch(join(folder, 'target', 'torch'));
  const expected = { version: '2.13.0', cuda: false, source: 'LIBTORCH' };
  for (const [given, root] of [
    [unpacked, unpacked],
    [join(folder, 'unpacked'), unpacked],
    [wheel, wheel],
    [join(folder, 'target'), wheel],
  ] as const) {
    t.like(await resolveLibTorch({ env: { ...env, LIBTORCH: given } }), { ...expected, root });
  }
});

test('a LIBTORCH that cannot be used is an error, whatever else there is', async (t) => {
  const { folder, bin, env } = sandbox(t);
  makePython(bin, 'python3', { torch: makeLibTorch(join(folder, 'torch')) });
  const cases: [path: string, problem: RegExp][] = [
    [join(folder, 'nowhere'), /the folder does not exist/],
    [bin, /it has no include\/ATen\/ATen\.h/],
    [makeLibTorch(join(folder, 'no-cpu'), '2.13.0', ['libc10.so']), /it has no lib\/libtorch_cpu\.so/],
    [makeLibTorch(join(folder, 'no-c10'), '2.13.0', ['libtorch_cpu.so']), /it has no lib\/libc10\.so/],
    [
      makeLibTorch(join(folder, 'old'), '2.10.0'),
      /it is version 2\.10\.0, and 2\.11\.x to 2\.15\.x is needed/,
    ],
    [
      makeLibTorch(join(folder, 'new'), '2.16.0'),
      /it is version 2\.16\.0, and 2\.11\.x to 2\.15\.x is needed/,
    ],
    [makeLibTorch(join(folder, 'unknown'), 'x.y.z'), /its version cannot be told/],
  ];
  for (const [path, problem] of cases) {
    const message = await failure(t, { env: { ...env, LIBTORCH: path } });
    t.true(message.includes(path));
    t.regex(message, problem);
    t.regex(message, /\n {2}npm rebuild node-gradcam$/);
  }
});

test('the version is read from older headers and from build-version and version.py too', async (t) => {
  const { folder, env } = sandbox(t);
  const header =
    '#define TORCH_VERSION_MAJOR 2\n#define TORCH_VERSION_MINOR 13\n#define TORCH_VERSION_PATCH 1\n';
  for (const [file, content] of [
    ['include/torch/csrc/api/include/torch/version.h', header],
    ['build-version', '2.13.1+cpu\n'],
    ['version.py', "from typing import Optional\n__version__ = '2.13.1+cu130'\ncuda = '13.0'\n"],
  ] as const) {
    const root = makeLibTorch(join(folder, file.replaceAll('/', '-')));
    rmSync(join(root, 'include/torch/headeronly'), { recursive: true });
    mkdirSync(join(root, file, '..'), { recursive: true });
    writeFileSync(join(root, file), content);
    t.is((await resolveLibTorch({ env: { ...env, LIBTORCH: root } })).version, '2.13.1', file);
  }
});

test("Python's torch is used before the cache, the Python named by PYTHON first", async (t) => {
  const { folder, bin, env, cached } = sandbox(t);
  makeLibTorch(cached);
  const ofPath = makeLibTorch(join(folder, 'path', 'torch'), '2.13.2');
  const chosen = makeLibTorch(join(folder, 'chosen', 'torch'), '2.13.0', [
    'libtorch_cpu.so',
    'libc10.so',
    'libtorch_cuda.so',
  ]);
  makePython(bin, 'python', { torch: ofPath });
  t.deepEqual(await resolveLibTorch({ env }), {
    root: ofPath,
    version: '2.13.2',
    cuda: false,
    source: 'python',
  });
  const python = makePython(folder, 'chosen-python', { torch: chosen });
  t.deepEqual(await resolveLibTorch({ env: { ...env, PYTHON: python } }), {
    root: chosen,
    version: '2.13.0',
    cuda: true,
    source: 'python',
  });
});

test("LIBTORCH_USE_PYTORCH=0 skips Python's torch, and so does a version out of range", async (t) => {
  const { folder, bin, env, cached } = sandbox(t);
  makePython(bin, 'python3', { torch: makeLibTorch(join(folder, 'torch')) });
  const skipped = { ...env, LIBTORCH_USE_PYTORCH: '0' };
  t.regex(await failure(t, { env: skipped, fetchMissing: false }), /skipped, LIBTORCH_USE_PYTORCH=0/);
  makeLibTorch(cached);
  t.like(await resolveLibTorch({ env: skipped }), { source: 'cache', root: cached });
  t.like(await resolveLibTorch({ env }), { source: 'python' });

  makeLibTorch(join(folder, 'torch'), '2.16.0');
  t.like(await resolveLibTorch({ env }), { source: 'cache', root: cached });
  rmSync(cached, { recursive: true });
  t.regex(
    await failure(t, { env, fetchMissing: false }),
    /python3's torch: .*it is version 2\.16\.0, and 2\.11\.x to 2\.15\.x is needed/,
  );
});

test('GRADCAM_OFFLINE=1 and npm install --offline use what is there, and no network', async (t) => {
  const { folder, bin, env, cached } = sandbox(t);
  makePython(bin, 'python3', { wheels: { torch: makeWheel(folder, false) } });
  let requests = 0;
  const url = await serve(t, (_, response) => {
    requests++;
    response.end();
  });
  for (const [name, value, reason] of [
    ['GRADCAM_OFFLINE', '1', /the network: not used, GRADCAM_OFFLINE=1/],
    ['npm_config_offline', 'true', /the network: not used, npm's --offline/],
  ] as const) {
    const offline = { ...env, [name]: value };
    t.regex(await failure(t, { env: offline, officialArchive: { url, sha256: '0' } }), reason);
    t.regex(await failure(t, { env: { ...offline, LIBTORCH_URL: url } }), reason);
    makeLibTorch(cached);
    t.like(await resolveLibTorch({ env: offline }), { source: 'cache' });
    rmSync(cached, { recursive: true });
  }
  t.is(requests, 0);
  t.false(existsSync(join(bin, 'pip.log')), 'pip was not called');
});

test('each release line has a torchvision; others are out of range', async (t) => {
  const versions = await import(rootUrl('scripts/libtorch/versions.mjs'));
  t.deepEqual(versions.testedVersions, ['2.12.1', '2.13.0']);
  t.true(versions.testedVersions.includes(versions.pinnedVersion));
  t.is(versions.supportedRange, '2.11.x to 2.15.x');
  for (const version of ['2.11.0', '2.12.0', '2.12.1', '2.13.7', '2.15.0'])
    t.true(versions.isSupported(version), version);
  for (const version of ['2.10.0', '2.16.0', '1.12.1', '12.12.0', '2.120.0', '2.12', '2.13.0rc1'])
    t.false(versions.isSupported(version), version);
  t.is(versions.torchvisionFor('2.11.0'), '0.26.0');
  t.is(versions.torchvisionFor('2.12.1'), '0.27.1');
  t.is(versions.torchvisionFor('2.13.0'), '0.28.0');
});
