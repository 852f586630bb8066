import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { fitsColumns, gradcam } from '../helpers/cli.js';
import { liteModel, noise } from '../helpers/fixtures.js';
import { grpcClient, holdCall, inferBytes, raw } from '../helpers/grpc-client.js';
import { rawRequest } from '../helpers/raw-request.js';
import { fixturePath, rootPath } from '../helpers/root.js';
import { photo } from '../helpers/server.js';
import { formOf, holdRequest, image, untilPending } from '../helpers/server-requests.js';
import { until } from '../helpers/until.js';

const program = rootPath('dist/lib/cli/main.js');
const tiny = ['-m', `lite=${fixturePath('scripted.pt')}`, '--port', '0', '--max-batch', '1'];

interface Run {
  readonly child: ChildProcess;
  readonly output: () => { stdout: string; stderr: string };
  readonly exited: Promise<number | string | null>;
  /** Resolves when it is written, on standard error or output; rejects when the process ends before. */
  says(what: RegExp): Promise<RegExpExecArray>;
}

const children: ChildProcess[] = [];
test.after.always(() => {
  for (const child of children) child.kill('SIGKILL');
});

function gradcamServe(args: readonly string[], env: NodeJS.ProcessEnv = {}): Run {
  const child = spawn(process.execPath, [program, 'serve', ...args], { env: { ...process.env, ...env } });
  children.push(child);
  const written = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk) => {
    written.stdout += chunk;
  });
  child.stderr.on('data', (chunk) => {
    written.stderr += chunk;
  });
  const exited = new Promise<number | string | null>((resolve) =>
    child.once('close', (code, signal) => resolve(code ?? signal)),
  );
  return {
    child,
    output: () => written,
    exited,
    says: (what) =>
      until(`${what}`, () => {
        const found = what.exec(written.stderr) ?? what.exec(written.stdout);
        if (!found && (child.exitCode !== null || child.signalCode !== null))
          throw new Error(`It ended: ${written.stderr}`);
        return found;
      }),
  };
}
const addressOf = async (run: Run) => (await run.says(/Listening on (http:\S+?),/))[1] as string;

test.serial('SIGTERM loses no accepted request', async (t) => {
  const run = gradcamServe([...tiny, '--drain-delay', '100']);
  const url = await addressOf(run);
  t.true(url.startsWith('http://127.0.0.1:'));
  await run.says(/^Ready: lite$/m);
  const held = [
    holdRequest(url, '/explain/lite', await formOf(new Uint8Array(photo))),
    ...[1, 2, 3, 4].map((seed) => holdRequest(url, '/v2/models/lite/infer', image(seed))),
  ];
  await untilPending({ get: (path) => fetch(url + path) }, 5);
  run.child.kill('SIGTERM');
  await until('no more connections to be taken', () =>
    fetch(`${url}/v2/health/live`).then(
      () => false,
      () => true,
    ),
  );
  const statuses = await Promise.all(held.map(async (each) => (await each.finish()).status));
  t.deepEqual(statuses, [200, 200, 200, 200, 200]);
  t.is(await run.exited, 0, run.output().stderr + run.output().stdout.slice(-3000));
});

test.serial('after SIGTERM it goes on for the delay that was asked for, and is not ready', async (t) => {
  const run = gradcamServe([...tiny, '--drain-delay', '3600000']);
  const url = await addressOf(run);
  await run.says(/^Ready: lite$/m);
  run.child.kill('SIGTERM');
  await run.says(/"draining"/);
  t.is((await fetch(`${url}/v2/health/ready`)).status, 503);
  t.is((await fetch(`${url}/v2/health/live`)).status, 200);
  const answer = await fetch(`${url}/explain/lite`, { method: 'POST', body: new Uint8Array(photo) });
  t.is(answer.status, 200);
  run.child.kill('SIGKILL');
  t.is(await run.exited, 'SIGKILL');
});

test.serial('logs are JSON lines with request ids, and tell no tokens', async (t) => {
  const run = gradcamServe(tiny, {
    GRADCAM_TOKEN: 'correct horse',
  });
  const url = await addressOf(run);
  await run.says(/^Ready: lite$/m);
  const response = await fetch(`${url}/explain/lite`, {
    method: 'POST',
    body: new Uint8Array(photo),
    headers: { authorization: 'Bearer correct horse', 'x-request-id': 'mine-7' },
  });
  t.is(response.headers.get('x-request-id'), 'mine-7');
  run.child.kill('SIGINT');
  t.is(await run.exited, 0);
  const { stdout } = run.output();
  const lines = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  t.like(
    lines.find((line) => line.request_id === 'mine-7'),
    { method: 'POST', url: '/explain/lite', status: 200 },
  );
  t.false(stdout.includes('correct horse'));
});

test.serial('a configuration file, and flags that win over it', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'gradcam-serve-'));
  const file = join(folder, 'server.json');
  await writeFile(
    file,
    JSON.stringify({ port: 1, models: { tiny: fixturePath('scripted.pt') }, page: false }),
  );
  const run = gradcamServe(['--config', file, '--port', '0']);
  const url = await addressOf(run);
  await run.says(/^Ready: tiny$/m);
  t.deepEqual(await (await fetch(`${url}/`)).json(), { status: 'alive' }, 'no page');
  run.child.kill('SIGTERM');
  t.is(await run.exited, 0);
});

test.serial('gRPC on a second port: told at the start, and ended without losing a call', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'gradcam-serve-'));
  const file = join(folder, 'server.json');
  await writeFile(file, JSON.stringify({ models: { lite: fixturePath('scripted.pt') }, grpcPort: 1 }));
  const run = gradcamServe(['--config', file, '--port', '0', '--grpc-port', '0', '--host', '127.0.0.2']);
  const url = await addressOf(run);
  const [, address = ''] = await run.says(/ for gRPC on (127\.0\.0\.2:\d+),/);
  await run.says(/^Ready: lite$/m);
  const image = {
    model_name: 'lite',
    inputs: [{ name: 'x', shape: [1, 3, 16, 16], datatype: 'FP32' }],
    raw_input_contents: [raw(noise(3 * 16 * 16))],
  };
  const held = holdCall(address, 'ModelInfer', inferBytes(image));
  await untilPending({ get: (path) => fetch(url + path) }, 1);
  run.child.kill('SIGTERM');
  await until('no more calls to be taken', async () => {
    using client = grpcClient(address);
    return (await client.call('ServerLive')).status === 'UNAVAILABLE';
  });
  held.finish();
  t.is((await held.ended)['grpc-status'], '0');
  held.close();
  t.is(await run.exited, 0, run.output().stderr + run.output().stdout.slice(-3000));
});

test.serial('the help fits 80 columns', async (t) => {
  for (const args of [['serve', '--help'], ['--help']]) {
    const { stdout } = await gradcam(args);
    t.regex(stdout, /gradcam serve -m/);
    fitsColumns(t, stdout);
  }
});

const refused = test.macro(async (t, args: readonly string[], code: number, message: RegExp) => {
  const run = await gradcam(['serve', '--log-level', 'fatal', ...args]);
  t.is(run.code, code, run.stderr);
  t.regex(run.stderr, message);
  t.notRegex(run.stderr, /^ +at /m);
});
test.serial('refused: no model', refused, [], 2, /^error: .*neither a model nor a repository/m);
test.serial(
  'refused: a model that is not there',
  refused,
  ['-m', 'none.pt', '--port', '0'],
  3,
  /^error: .*none\.pt.*\(ERR_MODEL_NOT_FOUND\)/m,
);
test.serial('refused: a wrong port', refused, ['-m', liteModel, '--port', 'x'], 2, /port from 0 to 65535/);
test.serial(
  'refused: a token file that is not there',
  refused,
  ['-m', liteModel, '--token-file', 'none'],
  2,
  /--token-file: cannot read 'none'/,
);
test.serial('refused: a name that is none', refused, ['-m', `a/b=${liteModel}`], 2, /named with letters/);
test.serial(
  'refused: loading by request without tokens',
  refused,
  [...tiny, '--model-control'],
  2,
  /no tokens.*--token-file.*--insecure.*\(ERR_SERVER_CONFIG\)/,
);
test.serial('refused: a proxy that is none', refused, [...tiny, '--trust-proxy', 'nginx'], 2, /trustProxy/);

test.serial('it warns when everybody may use it, an empty list of tokens included', async (t) => {
  const file = join(await mkdtemp(join(tmpdir(), 'gradcam-serve-')), 'server.json');
  await writeFile(file, JSON.stringify({ models: { tiny: fixturePath('scripted.pt') }, tokens: [] }));
  const run = gradcamServe(['--config', file, '--port', '0', '--host', '0.0.0.0']);
  await run.says(/everybody who reaches 0\.0\.0\.0 may use this server/);
  run.child.kill('SIGINT');
  t.is(await run.exited, 0);
});

test.serial('who may call is told by flags', async (t) => {
  const run = gradcamServe([
    ...tiny,
    ...['--allowed-host', 'a.example', '--allowed-host', '.b.example'],
    ...['--allowed-origin', 'https://app.example.com', '--trust-proxy', '127.0.0.1', '--rate-limit', '1'],
    ...['--model-control', '--insecure'],
  ]);
  const url = await addressOf(run);
  await run.says(/^Ready: lite$/m);
  const ask = (headers: Record<string, string>, path = '/v1/models', method = 'GET') =>
    rawRequest(url, path, { headers, method });
  for (const [index, host] of ['a.example', 'x.b.example', '127.0.0.1'].entries())
    t.is((await ask({ host, 'x-forwarded-for': `203.0.113.${index}` })).status, 200, host);
  t.is((await ask({ host: 'c.example' })).code, 'ERR_HOST_NOT_ALLOWED');
  t.is((await ask({ 'x-forwarded-for': '203.0.113.0' })).code, 'ERR_RATE_LIMITED');
  const origin = 'https://app.example.com';
  const load = '/v2/repository/models/lite/load';
  const loaded = await ask({ origin, 'x-forwarded-for': '203.0.113.50' }, load, 'POST');
  t.deepEqual([loaded.status, loaded.headers['access-control-allow-origin']], [200, origin]);
  run.child.kill('SIGINT');
  t.is(await run.exited, 0);
});
