import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { fitsColumns, gradcam } from './helpers/cli.js';
import { fixturePath, noise } from './helpers/fixtures.js';
import { binaryInference, liteModel, photo, rootPath } from './helpers/server.js';

const program = rootPath('dist/lib/cli/main.js');

interface Run {
  readonly child: ChildProcess;
  readonly output: () => { stdout: string; stderr: string };
  readonly exited: Promise<number | string | null>;
  /** Resolves when standard error says so; rejects when the process ends before. */
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
    says: async (what) => {
      for (;;) {
        const found = what.exec(written.stderr);
        if (found) return found;
        if (child.exitCode !== null || child.signalCode !== null)
          throw new Error(`It ended: ${written.stderr}`);
        await sleep(20);
      }
    },
  };
}
const addressOf = async (run: Run) => (await run.says(/Listening on (http:\S+?),/))[1] as string;

test.serial('SIGTERM loses no accepted request', async (t) => {
  const run = gradcamServe(['-m', `lite=${liteModel}`, '--port', '0', '--drain-delay', '200']);
  const url = await addressOf(run);
  t.true(url.startsWith('http://127.0.0.1:'));
  await run.says(/^Ready: lite$/m);
  const { body, headers } = binaryInference(
    {
      inputs: [{ name: 'input', shape: [1, 3, 224, 224], datatype: 'FP32' }],
      parameters: { class: 1, binary_data_output: true },
    },
    noise(3 * 224 * 224),
  );
  const requests = Array.from({ length: 40 }, async () => {
    const response = await fetch(`${url}/v2/models/lite/infer`, {
      method: 'POST',
      body: new Uint8Array(body),
      headers,
    });
    await response.arrayBuffer();
    return response.status;
  });
  const pending = async () =>
    Number(
      /^nv_inference_pending_request_count (\d+)/m.exec(await (await fetch(`${url}/metrics`)).text())?.[1],
    );
  while ((await pending()) < 30) await sleep(5);
  run.child.kill('SIGTERM');
  await sleep(60);
  const ready = await fetch(`${url}/v2/health/ready`);
  t.is(ready.status, 503, 'not ready while it drains');
  const statuses = await Promise.all(requests);
  t.is(statuses.filter((status) => status === 200).length, 40, statuses.join());
  t.is(await run.exited, 0, run.output().stderr + run.output().stdout.slice(-3000));
  await t.throwsAsync(fetch(`${url}/v2/health/live`));
});

test.serial('logs are JSON lines with request ids, and tell no tokens', async (t) => {
  const run = gradcamServe(['-m', `lite=${fixturePath('scripted.pt')}`, '--port', '0'], {
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
