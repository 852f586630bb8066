import { execFileSync } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import { type AddressInfo, createServer as createSocketServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';

// What the resolver of LibTorch is tested with: small stand-ins for what it looks for and downloads.

export const cacheEntry = `libtorch-2.13.0-${process.platform}-${process.arch}`;

/** A temporary folder with an empty cache, and an environment in which no program can be found. */
export function sandbox(t: ExecutionContext) {
  const folder = mkdtempSync(join(tmpdir(), 'gradcam-resolver-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const bin = join(folder, 'bin');
  const cache = join(folder, 'cache');
  mkdirSync(bin);
  const env: NodeJS.ProcessEnv = { PATH: bin, HOME: folder, GRADCAM_CACHE: cache };
  return { folder, bin, cache, env, cached: join(cache, cacheEntry) };
}

/** The few files by which LibTorch is recognised. */
export function makeLibTorch(
  root: string,
  version = '2.13.0',
  libraries = ['libtorch_cpu.so', 'libc10.so'],
): string {
  for (const folder of ['include/ATen', 'include/torch/headeronly', 'lib']) {
    mkdirSync(join(root, folder), { recursive: true });
  }
  writeFileSync(join(root, 'include/ATen/ATen.h'), '');
  const [major, minor, patch] = version.split('.');
  writeFileSync(
    join(root, 'include/torch/headeronly/version.h'),
    `#define TORCH_VERSION_MAJOR ${major}\n#define TORCH_VERSION_MINOR ${minor}\n#define TORCH_VERSION_PATCH ${patch}\n`,
  );
  for (const name of libraries) writeFileSync(join(root, 'lib', name), '');
  return root;
}

export interface FakePython {
  torch?: string;
  /** A folder whose content `pip install --target` puts there; 'fail' and 'hang' do what they say. */
  wheels?: { torch: string; toolkit?: string } | 'fail' | 'hang';
}

/** A program that answers like Python where the resolver asks it; it notes pip's arguments in pip.log. */
export function makePython(
  folder: string,
  name: string,
  { torch = '', wheels = 'fail' }: FakePython = {},
): string {
  const path = join(folder, name);
  const script = `#!${process.execPath}
const fs = require('node:fs');
const path = require('node:path');
const args = process.argv.slice(2);
const wheels = ${JSON.stringify(wheels)};
if (args[0] === '-c') console.log(${JSON.stringify(torch)});
else {
  fs.appendFileSync(${JSON.stringify(join(folder, 'pip.log'))}, args.join(' ') + '\\n');
  if (wheels === 'fail') process.exit(1);
  const target = args[args.indexOf('--target') + 1];
  if (wheels === 'hang') {
    fs.writeFileSync(path.join(target, 'partial'), '');
    fs.writeFileSync(${JSON.stringify(join(folder, 'pip.pid'))}, String(process.pid));
    setTimeout(() => {}, 600_000);
  } else {
    const wheel = args.at(-1).startsWith('cuda-toolkit') ? wheels.toolkit : wheels.torch;
    fs.cpSync(wheel, target, { recursive: true });
  }
}
`;
  writeFileSync(path, script);
  chmodSync(path, 0o755);
  return path;
}

/** What a torch wheel unpacks to. */
export function makeWheel(folder: string, cuda: boolean): string {
  const wheel = join(folder, 'wheel');
  const cudaLibraries = ['libtorch_cuda.so', 'libc10_cuda.so', 'libtorch_python.so', 'libtorch_nvshmem.so'];
  makeLibTorch(join(wheel, 'torch'), '2.13.0', [
    'libtorch_cpu.so',
    'libc10.so',
    'libgomp.so.1',
    ...(cuda ? cudaLibraries : []),
  ]);
  writeFileSync(join(wheel, 'torch', '__init__.py'), '');
  mkdirSync(join(wheel, 'torch-2.13.0.dist-info'));
  writeFileSync(
    join(wheel, 'torch-2.13.0.dist-info', 'METADATA'),
    'Requires-Dist: filelock\nRequires-Dist: cuda-toolkit[cublas,cudart,cupti]==13.0.3; platform_system == "Linux"\n',
  );
  return wheel;
}

export function makeToolkit(folder: string): string {
  const toolkit = join(folder, 'toolkit');
  mkdirSync(join(toolkit, 'nvidia/cu13/lib'), { recursive: true });
  writeFileSync(join(toolkit, 'nvidia/cu13/lib/libcudart.so.13'), '');
  return toolkit;
}

/** A zip like the official archive, of a LibTorch of that version. */
export function makeArchive(folder: string, version = '2.13.0') {
  const source = join(folder, `archive-${version}`);
  const file = join(folder, `${version}.zip`);
  makeLibTorch(join(source, 'libtorch'), version);
  // Large enough that the middle is not the end.
  writeFileSync(
    join(source, 'libtorch', 'share'),
    Array.from({ length: 20_000 }, () => randomUUID()).join(''),
  );
  execFileSync('cmake', ['-E', 'tar', 'cf', file, '--format=zip', 'libtorch'], { cwd: source });
  const content = readFileSync(file);
  return { content, bytes: content.length, sha256: createHash('sha256').update(content).digest('hex') };
}

export async function listen(t: ExecutionContext, server: Server): Promise<string> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/libtorch.zip`;
}

export async function serve(t: ExecutionContext, respond: RequestListener): Promise<string> {
  const server = createServer(respond);
  t.teardown(() => server.closeAllConnections());
  return listen(t, server);
}

/** An address on which nothing listens. */
export async function unreachableUrl(): Promise<string> {
  const server = createSocketServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return `http://127.0.0.1:${port}/libtorch.zip`;
}

export function cacheContent(cache: string): string[] {
  return existsSync(cache) ? readdirSync(cache) : [];
}
