import { spawn } from 'node:child_process';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import test from 'ava';
import { threads } from 'node-gradcam';
import sharp from 'sharp';
import { demoModel, fitsColumns, gradcam, gradcamProcess, photo, program, refused } from '../helpers/cli.js';
import { packageWith, temporaryFolder } from '../helpers/package-copy.js';
import { fixturePath, root } from '../helpers/root.js';

// What all commands have in common, and gradcam layers, evaluate and doctor. Others have files of their own.

test.serial('layers shows the tree with shapes and marks the suggested layer', async (t) => {
  const { code, stdout, stderr } = await gradcamProcess(['layers', demoModel, '--input-size', '192']);
  t.is(code, 0, stderr);
  fitsColumns(t, stdout);
  t.regex(stdout, /^_conv_head +Conv2d +\[1, 1280, 6, 6\]$/m);
  t.regex(stdout, /^ {4}_expand +Expansion +\[1, 1152, 6, 6\]$/m);
  t.is(stdout.match(/<- suggested/g)?.length, 1);
  t.regex(stdout, /^_relu1 .*<- suggested$/m);
  t.regex(stdout, /^Suggested: _relu1, the last layer/m);

  const json = await gradcam(['layers', demoModel, '--json']);
  const { layers, suggested } = JSON.parse(json.stdout);
  t.is(suggested.path, '_relu1');
  const head = layers.find(({ path }: { path: string }) => path === '_conv_head');
  t.deepEqual([head.type, head.calls, head.outputShapes], ['Conv2d', 1, [[1, 1280, 7, 7]]]);
});

test.serial('layers of a model without a sidecar asks for an input size', async (t) => {
  const { code, stdout } = await gradcam(['layers', fixturePath('scripted.pt')]);
  t.is(code, 0);
  t.regex(stdout, /--input-size/);
  t.notRegex(stdout, /\[1, /);
});

test.serial('evaluate ranks the methods by ROAD', async (t) => {
  const args = ['evaluate', fixturePath('scripted.pt'), photo, '--size', '16', '-m', 'gradcam,eigencam'];
  const { code, stdout, stderr } = await gradcamProcess(args);
  t.deepEqual([code, stderr], [0, '']);
  fitsColumns(t, stdout);
  t.regex(stdout, /^1 image, best first by ROAD\n\nmethod +ROAD +change +insertion +deletion +ms\/image\n/);
  t.is(stdout.match(/^(gradcam|eigencam) +( +-?\d\.\d{3}){4} +\d+\.\d$/gm)?.length, 2);

  const { methods } = JSON.parse((await gradcam([...args, '--json'])).stdout);
  const [first, second] = Object.values(methods) as { road: number }[];
  t.deepEqual(Object.keys(methods).sort(), ['eigencam', 'gradcam']);
  t.true((first?.road ?? 0) >= (second?.road ?? 1));
  await refused(t, ['evaluate', demoModel, photo, '-m', 'magic'], 2, /no method 'magic'.*gradcam/);
});

test.serial('doctor tells what the library runs on', async (t) => {
  const text = await gradcamProcess(['doctor']);
  t.is(text.code, 0, text.stderr);
  for (const name of ['Addon', 'LibTorch', 'CPU', 'CUDA', 'Threads', 'Node']) {
    t.regex(text.stdout, new RegExp(`^${name} +\\S`, 'm'));
  }
  const { libtorch, threads, addonPath, cuda } = JSON.parse((await gradcam(['doctor', '--json'])).stdout);
  t.regex(libtorch.version, /^2\.\d+\.\d+/);
  t.true(libtorch.testedVersions.length >= 2);
  t.regex(text.stdout, /^ +tested with 2\.\d+\.\d+ and 2\.\d+\.\d+$/m);
  t.true(addonPath.endsWith('gradcam.node'));
  t.true(threads.executors >= 1 && threads.intraOp >= 1);
  t.true(cuda.available || cuda.reason.length > 0);
});

test.serial('doctor ends with 3 and the cure where the addon was not built', async (t) => {
  const file = join(dirname(packageWith(t, null)), 'cli', 'main.js');
  const run = await gradcamProcess(['doctor'], root, { file });
  t.is(run.code, 3);
  t.regex(run.stderr, /^error: The native addon is missing/);
  t.regex(run.stderr, /npm rebuild node-gradcam/);
  t.regex(run.stderr, /ERR_ADDON_LOAD/);
});

test.serial('--version and --help', async (t) => {
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));
  t.deepEqual(await gradcam(['--version']), { code: 0, stdout: `${version}\n`, stderr: '' });
  const commands = [
    'explain',
    'clip',
    'attribute',
    'factorize',
    'evaluate',
    'layers',
    'init-sidecar',
    'doctor',
  ];
  for (const args of [['--help'], ...commands.map((command) => [command, '--help'])]) {
    const { code, stdout, stderr } = await gradcam(args);
    t.deepEqual([code, stderr], [0, '']);
    fitsColumns(t, stdout);
    t.regex(stdout, /Exit codes:\n {2}0 /);
  }
  t.regex((await gradcam(['--help'])).stdout, /Examples:\n {2}gradcam explain/);
});

test.serial('GRADCAM_DEBUG=1 adds the stack', async (t) => {
  const { stderr } = await gradcamProcess(['layers', 'nowhere.pt'], root, { env: { GRADCAM_DEBUG: '1' } });
  t.regex(stderr, /^ +at /m);
});

test.serial('a reader that goes away ends with 141, as SIGPIPE does, and without a word', async (t) => {
  const child = spawn(process.execPath, [program, 'layers', demoModel], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  child.stdout.destroy();
  let stderr = '';
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  const code = await new Promise((resolve) => child.once('close', resolve));
  t.deepEqual([code, stderr], [141, '']);
});

test.serial('Ctrl-C ends with 130 and leaves only complete files', async (t) => {
  const folder = temporaryFolder(t);
  const images = new Array(500).fill(photo);
  const child = spawn(process.execPath, [program, 'explain', demoModel, ...images], { cwd: folder });
  let stderr = '';
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  child.stdout.once('data', () => child.kill('SIGINT'));
  const [code, signal] = await new Promise<[number | null, string | null]>((resolve) => {
    child.once('close', (...end) => resolve(end));
  });
  t.deepEqual([code, signal, stderr], [130, null, 'interrupted\n']);
  const files = await readdir(folder);
  t.true(files.length >= 1 && files.length < 500, `${files.length} files`);
  for (const file of files) {
    t.regex(file, /\.png$/);
    await t.notThrowsAsync(sharp(join(folder, file)).stats());
  }
});

const tiny = fixturePath('scripted.pt');

test.serial('in a process that does more, a run prints and ends as in one of its own', async (t) => {
  const folder = temporaryFolder(t);
  await writeFile(join(folder, 'broken.jpg'), 'no picture');
  for (const args of [
    ['explain', '--help'],
    ['explain'],
    ['layers', tiny, '--input-size', '32'],
    ['explain', tiny, 'broken.jpg', photo, '--size', '32'],
  ])
    t.deepEqual(await gradcam(args, folder), await gradcamProcess(args, folder), args.join(' '));
});

const openSockets = () => process.getActiveResourcesInfo().filter((kind) => /TCP|TLS/.test(kind));

/** What a run could change for what comes after it in the process. */
async function traces() {
  // A socket that is closed goes a few turns of the event loop later.
  for (let turns = 0; turns < 100 && openSockets().length > 0; turns++) await nextTurn();
  const listeners = [process, process.stdin, process.stdout, process.stderr].map((emitter) =>
    Object.fromEntries(emitter.eventNames().map((name) => [name, emitter.listenerCount(name)])),
  );
  return {
    listeners,
    sockets: openSockets(),
    threads: threads(),
    exitCode: process.exitCode,
    folder: process.cwd(),
  };
}

test.serial('a run leaves nothing behind in its process', async (t) => {
  const folder = temporaryFolder(t);
  await writeFile(join(folder, 'broken.jpg'), 'no picture');
  const aborted = { signal: AbortSignal.abort() };
  const redis = ['--redis', 'redis://127.0.0.1:1'];
  const runs: readonly [code: number, args: string[], options?: { signal: AbortSignal }][] = [
    [0, ['explain', tiny, photo, '--size', '32']],
    [1, ['explain', tiny, 'broken.jpg', photo, '--size', '32']],
    [2, ['explain', tiny, 'nowhere.png']],
    [130, ['explain', tiny, photo, '--size', '32'], aborted],
    [3, ['batch', 'work', ...redis]],
    [3, ['batch', 'status', '--watch', ...redis]],
    [2, ['serve', '--port', 'x']],
    [3, ['serve', '-m', 'nowhere.pt', '--port', '0', '--executors', '7', '--log-level', 'fatal']],
    [130, ['serve', '-m', tiny, '--port', '0'], aborted],
  ];
  await gradcam(['doctor']); // The addon is loaded once, and closed as the process ends.
  const before = await traces();
  for (const [code, args, options] of runs) {
    const run = await gradcam(args, folder, options);
    t.is(run.code, code, `${args.join(' ')}: ${run.stderr}`);
    t.deepEqual(await traces(), before, args.join(' '));
  }
});

test.serial('explain is interrupted by its signal, and the next run knows nothing of it', async (t) => {
  const folder = temporaryFolder(t);
  const interruption = new AbortController();
  const args = ['explain', tiny, ...new Array<string>(500).fill(photo), '--size', '32'];
  const { code, stderr } = await gradcam(args, folder, {
    signal: interruption.signal,
    onOutput: () => interruption.abort(),
  });
  t.deepEqual([code, stderr], [130, 'interrupted\n']);
  t.true((await readdir(folder)).length < 500);
  t.is((await gradcam(['explain', tiny, photo, '--size', '32'], folder)).code, 0);
});

const serveTiny = ['serve', '-m', `tiny=${tiny}`, '--port', '0', '--log-level', 'fatal'];

test.serial('serve ends with its signal, threads are as before, and it can be run again', async (t) => {
  await gradcam(['doctor']);
  const before = await traces();
  for (const executors of [2, 3]) {
    const interruption = new AbortController();
    let used = 0;
    const { code, stderr } = await gradcam([...serveTiny, '--executors', String(executors)], root, {
      signal: interruption.signal,
      onOutput: (text) => {
        if (!text.startsWith('Ready')) return;
        used = threads().executors;
        interruption.abort();
      },
    });
    t.is(code, 0);
    t.is(used, executors);
    t.regex(stderr, /^Listening on .*, loading tiny \.\.\.\nReady: tiny\n$/);
    t.deepEqual(await traces(), before);
  }
});

test.serial('serve gives up on a request that does not come to its end', async (t) => {
  const interruption = new AbortController();
  const run = await gradcam([...serveTiny, '--drain-timeout', '1'], root, {
    signal: interruption.signal,
    onOutput: (text) => {
      const [, port] = /^Listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(text) ?? [];
      if (port === undefined) return;
      const socket = connect(Number(port), '127.0.0.1');
      socket.on('error', () => {}); // It is closed at the other end.
      socket.write(
        'POST /explain/tiny HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n',
      );
      // The server has read the head of the request, and asks for the body.
      socket.once('data', () => interruption.abort());
    },
  });
  t.deepEqual([run.code, run.stderr.split('\n').at(-2)], [130, 'interrupted']);
});
