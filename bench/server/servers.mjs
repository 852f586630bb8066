import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const file = (path) => fileURLToPath(new URL(path, import.meta.url));

const running = new Set();
process.once('exit', () => {
  for (const server of running) server.kill();
});

function start(command, args, options) {
  const server = spawn(command, args, options);
  running.add(server);
  server.once('exit', () => running.delete(server));
  return server;
}

/** A server in a process of its own, ready to answer. */
class ServerProcess {
  #process;
  #exited;

  constructor(process, request) {
    this.#process = process;
    this.#exited = new Promise((resolve) => process.once('exit', resolve));
    this.request = request;
  }

  /** Resident memory, in MiB. */
  get residentMemory() {
    const status = readFileSync(`/proc/${this.#process.pid}/status`, 'utf8');
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)[1]) / 1024;
  }

  async end() {
    this.#process.kill('SIGTERM');
    return await this.#exited;
  }
}

/** `gradcam serve`, asked in the Open Inference Protocol with a binary tensor in and a binary heatmap out. */
export async function startOurs({
  folder,
  model,
  pixels,
  threads,
  executors = 1,
  maxBatch = 8,
  maxPending = 256,
}) {
  const port = await freePort();
  const configuration = join(folder, `serve-${port}.json`);
  const models = { resnet50: { path: model, layer: 'layer4' } };
  writeFileSync(configuration, JSON.stringify({ port, maxPending, maxBatch, page: false, models }));
  const args = [
    file('../../dist/lib/cli/main.js'),
    'serve',
    '--config',
    configuration,
    '--log-level',
    'error',
  ];
  const server = start(
    process.execPath,
    [...args, '--executors', String(executors), '--threads', String(threads)],
    {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, OMP_NUM_THREADS: String(threads) },
    },
  );
  await lineOf(server, server.stderr, /^Ready/);
  const head = Buffer.from(
    JSON.stringify({
      inputs: [
        {
          name: 'input',
          shape: [1, 3, 224, 224],
          datatype: 'FP32',
          parameters: { binary_data_size: pixels.length },
        },
      ],
      parameters: { method: 'gradcam' },
      outputs: [{ name: 'heatmap', parameters: { binary_data: true } }],
    }),
  );
  return new ServerProcess(server, {
    url: `http://127.0.0.1:${port}/v2/models/resnet50/infer`,
    method: 'POST',
    headers: {
      'content-type': 'application/octet-stream',
      'inference-header-content-length': String(head.length),
    },
    body: Buffer.concat([head, pixels]),
  });
}

export async function startPython({ python, pixels, threads }) {
  const port = await freePort();
  const server = start(python, [file('python_server.py'), String(threads), String(port)], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, OMP_NUM_THREADS: String(threads) },
  });
  await lineOf(server, server.stdout, /^ready/);
  return new ServerProcess(server, {
    url: `http://127.0.0.1:${port}/explain`,
    method: 'POST',
    headers: { 'content-type': 'application/octet-stream' },
    body: pixels,
  });
}

/** The heatmap of one request, from either server: what stands last in the answer. */
export async function heatmapOf({ request: { url, ...init } }) {
  const response = await fetch(url, init);
  if (response.status !== 200) throw new Error(`${url}: ${response.status} ${await response.text()}`);
  const bytes = (await response.arrayBuffer()).slice(-224 * 224 * 4);
  return new Float32Array(bytes);
}

async function lineOf(server, stream, pattern) {
  for await (const line of createInterface({ input: stream })) {
    if (!pattern.test(line)) continue;
    stream.resume();
    return;
  }
  throw new Error(`A server ended before it was ready (exit code ${server.exitCode}).`);
}

async function freePort() {
  const probe = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => probe.once('listening', resolve));
  const { port } = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  return port;
}
