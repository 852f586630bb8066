import { execFileSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A file that keeps whoever opens it for reading waiting, until somebody opens it for writing. */
export function makePipe(path: string): string {
  execFileSync('mkfifo', [path]);
  return path;
}

/** Keeps all threads of libuv's pool busy until the returned function is called: pictures that are to be decoded wait. */
export async function holdThreadPool(): Promise<() => Promise<void>> {
  const folder = await mkdtemp(join(tmpdir(), 'gradcam-pipe-'));
  const pipe = makePipe(join(folder, 'pipe'));
  const count = Number(process.env.UV_THREADPOOL_SIZE ?? 4);
  const opened: Promise<FileHandle>[] = Array.from({ length: count }, () => open(pipe, 'r'));
  return async () => {
    const writer = openSync(pipe, 'r+');
    for (const handle of await Promise.all(opened)) await handle.close();
    closeSync(writer);
    await rm(folder, { recursive: true });
  };
}
