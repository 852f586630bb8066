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
export async function startOurs({ folder, model, pixels, threads, ...options }) {
  const models = { resnet50: { path: model, layer: 'layer4' } };
  const { server, url } = await startServe({ folder, models, threads, ...options });
  const request = { url, model: 'resnet50', shape: [1, 3, 224, 224], bytes: pixels, method: 'gradcam' };
  return new ServerProcess(server, inferRequest(request));
}

/** `gradcam serve` on a free port, its models loaded and warm. */
export async function startServe({ folder, models, threads, executors = 1, maxBatch = 8, maxPending = 256 }) {
  const port = await freePort();
  const configuration = join(folder, `serve-${port}.json`);
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
  return { server, url: `http://127.0.0.1:${port}` };
}

/** A request for heatmaps in the Open Inference Protocol: bytes behind the JSON, both ways. Without `method`: the model's. */
export function inferRequest({ url, model, shape, bytes, datatype = 'FP32', method }) {
  const head = Buffer.from(
    JSON.stringify({
      inputs: [
        {
          name: 'input',
          shape,
          datatype,
          parameters: { binary_data_size: bytes.length },
        },
      ],
      parameters: { method },
      outputs: [{ name: 'heatmap', parameters: { binary_data: true } }],
    }),
  );
  return {
    url: `${url}/v2/models/${model}/infer`,
    method: 'POST',
    headers: {
      'content-type': 'application/octet-stream',
      'inference-header-content-length': String(head.length),
    },
    body: Buffer.concat([head, bytes]),
  };
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

/** On which nothing listens. */
export async function freePort() {
  const probe = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => probe.once('listening', resolve));
  const { port } = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  return port;
}
