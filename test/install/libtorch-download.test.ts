import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import ava from 'ava';
import { fetch } from 'undici';
import {
  cacheContent,
  cacheEntry,
  makeArchive,
  makeLibTorch,
  makePython,
  makeToolkit,
  makeWheel,
  sandbox,
  serve,
  unreachableUrl,
} from '../helpers/fake-libtorch.js';
import { failure, resolveLibTorch, resolver } from '../helpers/libtorch-resolver.js';
import { until } from '../helpers/until.js';

// How LibTorch comes into the cache: the archive, pip, and what is left of a download that fails.
// One at a time: each install listens to the process's signals.
const test = ava.serial;

test('a good download lands in the cache; the next run does not use the network', async (t) => {
  const { folder, env, cache, cached } = sandbox(t);
  const archive = makeArchive(folder);
  let requests = 0;
  const url = await serve(t, (_, response) => {
    requests++;
    response.end(archive.content);
  });
  const lines: string[] = [];
  const options = { env, officialArchive: { ...archive, url }, log: (line: string) => lines.push(line) };
  const root = join(cached, 'libtorch');
  t.deepEqual(await resolveLibTorch(options), {
    root,
    version: '2.13.0',
    cuda: false,
    source: 'official archive',
  });
  t.deepEqual(readdirSync(cache), [cacheEntry]);
  t.deepEqual(readdirSync(cached), ['libtorch'], 'the archive itself is not kept');
  t.true(lines[0]?.startsWith(`Downloading LibTorch from ${url} (`), lines[0]);
  t.like(await resolveLibTorch(options), { root, source: 'cache' });
  t.is(requests, 1);
});

/** A network in which a name with https is the server of a test. */
const httpsTo = (url: string): typeof fetch => {
  return (asked, init) => fetch(String(asked).replace('https://mirror.example', new URL(url).origin), init);
};

test('LIBTORCH_URL replaces the official archive; without LIBTORCH_SHA256 there is a warning', async (t) => {
  const { folder, env, cached } = sandbox(t);
  const { content, sha256 } = makeArchive(folder);
  const url = await serve(t, (_, response) => response.end(content));
  const officialArchive = { url: await unreachableUrl(), sha256 };
  for (const checksum of [undefined, sha256.toUpperCase()]) {
    rmSync(cached, { recursive: true, force: true });
    const lines: string[] = [];
    const libtorch = await resolveLibTorch({
      env: {
        ...env,
        LIBTORCH_URL: 'https://mirror.example/libtorch.zip?token=secret',
        LIBTORCH_SHA256: checksum,
      },
      officialArchive,
      network: { fetch: httpsTo(url) },
      log: (line) => lines.push(line),
    });
    t.is(libtorch.source, 'LIBTORCH_URL');
    t.is(/not verified/.test(lines.join('\n')), checksum === undefined);
    t.notRegex(lines.join('\n'), /secret/);
  }
});

test('a LIBTORCH_URL that fails is an error: pip does not take its place', async (t) => {
  const { folder, bin, env } = sandbox(t);
  const { content } = makeArchive(folder);
  makePython(bin, 'python3', { wheels: { torch: makeWheel(folder, false) } });
  const url = await serve(t, (request, response) => {
    if (request.url === '/missing.zip') response.writeHead(404).end();
    else response.end(request.url === '/text.zip' ? 'this is not an archive' : content);
  });
  const at = (name: string) => ({ ...env, LIBTORCH_URL: `https://mirror.example/${name}` });
  const cases: [env: NodeJS.ProcessEnv, problem: RegExp][] = [
    [at('missing.zip'), /from LIBTORCH_URL: the server answered 404 Not Found/],
    [at('text.zip'), /from LIBTORCH_URL: the archive could not be unpacked/],
    [{ ...at('libtorch.zip'), LIBTORCH_SHA256: 'ab'.repeat(32) }, /from LIBTORCH_URL: WRONG CHECKSUM/],
    [
      { ...env, LIBTORCH_URL: await unreachableUrl(), LIBTORCH_SHA256: 'ab'.repeat(32) },
      /127\.0\.0\.1:\d+ could not be reached \(connect ECONNREFUSED 127\.0\.0\.1:\d+\)/,
    ],
    [{ ...env, LIBTORCH_URL: 'libtorch.zip' }, /it is not a URL/],
  ];
  const network = { fetch: httpsTo(url) };
  for (const [given, problem] of cases) t.regex(await failure(t, { env: given, network }), problem);
  t.false(existsSync(join(bin, 'pip.log')), 'pip was not called');
});

test('an archive of another version, or of something else, does not reach the cache', async (t) => {
  const { folder, env } = sandbox(t);
  const archive = makeArchive(folder, '2.10.0');
  const url = await serve(t, (_, response) => response.end(archive.content));
  t.regex(
    await failure(t, { env, officialArchive: { ...archive, url } }),
    /cannot be used: it is version 2\.10\.0/,
  );
});

test('an archive that anybody can change on its way needs its checksum', async (t) => {
  const { folder, bin, env } = sandbox(t);
  const { content, sha256 } = makeArchive(folder);
  makePython(bin, 'python3', { wheels: { torch: makeWheel(folder, false) } });
  let requests = 0;
  const url = await serve(t, (request, response) => {
    requests++;
    if (request.url === '/elsewhere') response.writeHead(302, { location: '/libtorch.zip' }).end();
    else response.end(content);
  });
  t.regex(await failure(t, { env: { ...env, LIBTORCH_URL: url } }), /not fetched by https needs its SHA-256/);
  t.is(requests, 0);
  // From https to http, on the way.
  const redirected = { ...env, LIBTORCH_URL: 'https://mirror.example/elsewhere' };
  const network = { fetch: httpsTo(url) };
  t.regex(await failure(t, { env: redirected, network }), /not fetched by https needs its SHA-256/);
  t.is(
    (await resolveLibTorch({ env: { ...env, LIBTORCH_URL: url, LIBTORCH_SHA256: sha256 } })).source,
    'LIBTORCH_URL',
  );
  t.false(existsSync(join(bin, 'pip.log')), 'pip was not called');
});

test('a download with the wrong checksum or size stops the install: pip does not take its place', async (t) => {
  const { folder, bin, env } = sandbox(t);
  const archive = makeArchive(folder);
  const url = await serve(t, (_, response) => response.end(archive.content));
  makePython(bin, 'python3', { wheels: { torch: makeWheel(folder, false) } });
  const cases = [
    [{ url, sha256: '00'.repeat(32) }, /official archive, but WRONG CHECKSUM/],
    [{ url, ...archive, bytes: archive.bytes + 1 }, /official archive, but the file has the wrong size/],
  ] as const;
  for (const [officialArchive, complaint] of cases) {
    const message = await failure(t, { env, officialArchive });
    t.regex(message, complaint);
    t.regex(message, /set LIBTORCH to its folder[\s\S]*npm rebuild node-gradcam/);
  }
  t.false(existsSync(join(bin, 'pip.log')), 'pip was not called');
});

test('a download that breaks off, ends early or stops is an error and leaves nothing', async (t) => {
  const { folder, env } = sandbox(t);
  const { content, sha256 } = makeArchive(folder);
  const half = content.subarray(0, content.length / 2);
  const cutOff = await serve(t, (_, response) => {
    response.writeHead(200, { 'content-length': content.length });
    response.write(half, () => setImmediate(() => response.destroy()));
  });
  const short = await serve(t, (_, response) => {
    response.writeHead(200, { 'content-length': half.length }).end(half);
  });
  const stalled = await serve(t, (_, response) => {
    response.writeHead(200, { 'content-length': content.length }).write(half);
  });
  const silent = await serve(t, () => {});
  const official = (url: string) => ({ env, officialArchive: { url, sha256 } });
  t.regex(await failure(t, official(cutOff)), /the download broke off after/);
  t.regex(await failure(t, official(short)), /WRONG CHECKSUM/);
  const stall = { ...official(stalled), network: { stallTimeout: 200 } };
  t.regex(await failure(t, stall), /the download broke off after 0\.\d MB/);
  const noAnswer = { ...official(silent), network: { connectTimeout: 200 } };
  t.regex(await failure(t, noAnswer), /could not be reached \(no answer in 0\.2 s\)/);
});

test('with the official server out of reach, pip installs torch alone into the cache', async (t) => {
  const { folder, bin, env, cache, cached } = sandbox(t);
  makePython(bin, 'python3', { wheels: { torch: makeWheel(folder, false) } });
  const lines: string[] = [];
  const libtorch = await resolveLibTorch({
    env,
    officialArchive: { url: await unreachableUrl(), sha256: 'ab'.repeat(32) },
    log: (line) => lines.push(line),
  });
  t.deepEqual(libtorch, { root: join(cached, 'torch'), version: '2.13.0', cuda: false, source: 'pip' });
  t.regex(lines.join('\n'), /could not be reached.*\n.*Downloading torch==2\.13\.0 with python3 -m pip/);
  const pip = readFileSync(join(bin, 'pip.log'), 'utf8');
  t.regex(pip, /^-m pip install .*--no-deps torch==2\.13\.0\n$/, 'one call');
  t.deepEqual(readdirSync(cache), [cacheEntry]);
  t.deepEqual(readdirSync(cached).sort(), ['torch', 'torch-2.13.0.dist-info']);
});

test("of a CUDA wheel only the CPU's part is kept, with the CUDA runtime it links", async (t) => {
  const { folder, bin, env, cached } = sandbox(t);
  makePython(bin, 'python3', { wheels: { torch: makeWheel(folder, true), toolkit: makeToolkit(folder) } });
  t.like(await resolveLibTorch({ env, officialArchive: null }), { source: 'pip', cuda: false });
  t.regex(readFileSync(join(bin, 'pip.log'), 'utf8'), /cuda-toolkit\[cudart,cupti\]==13\.0\.3\n$/);
  t.deepEqual(readdirSync(join(cached, 'torch')).sort(), ['include', 'lib']);
  t.deepEqual(readdirSync(join(cached, 'torch/lib')).sort(), [
    'libc10.so',
    'libgomp.so.1',
    'libtorch_cpu.so',
  ]);
  t.true(existsSync(join(cached, 'nvidia/cu13/lib/libcudart.so.13')));
});

test('GRADCAM_CUDA=1 installs everything with pip, next to a CPU-only cache', async (t) => {
  const { folder, bin, env, cached } = sandbox(t);
  makeLibTorch(cached);
  const torch = makeLibTorch(join(folder, 'torch'));
  makePython(bin, 'python3', { torch, wheels: { torch: makeWheel(folder, true) } });
  const officialArchive = { url: await unreachableUrl(), sha256: 'ab'.repeat(32) };
  const lines: string[] = [];
  const log = (line: string) => lines.push(line);
  const options = { env: { ...env, GRADCAM_CUDA: '1' }, officialArchive, log };
  const root = join(`${cached}-cuda`, 'torch');
  t.deepEqual(await resolveLibTorch(options), { root, version: '2.13.0', cuda: true, source: 'pip' });
  t.is(lines.length, 1, 'the official archive, which has no CUDA, is not tried');
  t.regex(readFileSync(join(bin, 'pip.log'), 'utf8'), /^(?!.*--no-deps).* torch==2\.13\.0\n$/);
  t.true(existsSync(join(root, '__init__.py')), 'nothing is removed');
  t.like(await resolveLibTorch(options), { root, source: 'cache' });
});

test('when nothing works the message lists every place and ends with the command', async (t) => {
  const { bin, env, cached } = sandbox(t);
  makePython(bin, 'python3');
  const url = await serve(t, (_, response) => response.writeHead(404).end());
  const message = await failure(t, { env, officialArchive: { url, sha256: 'ab'.repeat(32) } });
  t.deepEqual(message.split('\n'), [
    'LibTorch 2.11.x to 2.15.x was not found. Tried:',
    "  - python3's torch: it is not installed",
    `  - the cache, ${cached}: the folder does not exist`,
    '  - official archive: the server answered 404 Not Found',
    '  - pip: "pip install --no-deps torch==2.13.0" failed (exit code 1)',
    'Unpack it anywhere and set LIBTORCH to that folder, or install it with (in a clone: npm run build at the end):',
    '  python3 -m pip install torch==2.13.0 && npm rebuild node-gradcam',
  ]);
  const withoutPython = await failure(t, { env: { ...env, PATH: cached } });
  t.regex(withoutPython, / {2}- no Python was found \(tried python3, python\)\n/);
  t.regex(withoutPython, / {2}- pip: no Python was found/);
});

test('a damaged cache is replaced, and what a killed install left is removed', async (t) => {
  const { folder, env, cache, cached } = sandbox(t);
  makeLibTorch(cached);
  rmSync(join(cached, 'lib', 'libc10.so'));
  const abandoned = `${cached}.unfinished-old`;
  mkdirSync(abandoned);
  execFileSync('touch', ['-d', '2 days ago', abandoned]);
  mkdirSync(`${cached}.unfinished-running`);
  const archive = makeArchive(folder);
  const url = await serve(t, (_, response) => response.end(archive.content));
  const libtorch = await resolveLibTorch({ env, officialArchive: { ...archive, url } });
  t.like(libtorch, { root: join(cached, 'libtorch'), source: 'official archive' });
  t.deepEqual(readdirSync(cache).sort(), [cacheEntry, `${cacheEntry}.unfinished-running`]);
});

test('two installs at once end with one complete LibTorch', async (t) => {
  const { folder, env, cache, cached } = sandbox(t);
  const archive = makeArchive(folder);
  const waiting: (() => void)[] = [];
  const url = await serve(t, (_, response) => {
    waiting.push(() => response.end(archive.content));
    if (waiting.length === 2) for (const send of waiting) send();
  });
  const options = { env, officialArchive: { ...archive, url } };
  const [first, second] = await Promise.all([resolveLibTorch(options), resolveLibTorch(options)]);
  t.is(waiting.length, 2, 'both downloaded');
  t.deepEqual(first, second);
  t.deepEqual(readdirSync(cache), [cacheEntry]);
  t.like(await resolveLibTorch(options), { source: 'cache', root: join(cached, 'libtorch') });
});

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  test(`${signal} ends an install, its pip too, and leaves nothing`, async (t) => {
    const { bin, cache, env } = sandbox(t);
    makePython(bin, 'python3', { wheels: 'hang' });
    const program = `import { resolveLibTorch } from ${JSON.stringify(resolver)};
      await resolveLibTorch({ officialArchive: null });`;
    const install = spawn(process.execPath, ['--input-type=module', '-e', program], { env, stdio: 'ignore' });
    t.teardown(() => install.kill('SIGKILL'));
    const pidFile = join(bin, 'pip.pid');
    await until('pip to be at work', () => existsSync(pidFile));
    t.regex(cacheContent(cache).join(), /\.unfinished-/, 'pip is at work');
    install.kill(signal);
    const [code] = await once(install, 'exit');
    t.is(code, signal === 'SIGINT' ? 130 : 143);
    t.deepEqual(readdirSync(cache), []);
    t.throws(
      () => process.kill(Number(readFileSync(pidFile, 'utf8')), 0),
      { code: 'ESRCH' },
      'pip has ended',
    );
  });
}
