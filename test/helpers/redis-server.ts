import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';

/** Why tests that need a Redis server cannot run here; null where they can. */
export const redisMissing: string | null =
  spawnSync('redis-server', ['--version']).status === 0 ? null : 'redis-server is not installed';

/** A port of the loopback interface on which nothing listens. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** A real Redis server that keeps nothing. */
export class RedisServer {
  readonly #process: ChildProcess;
  readonly #folder: string;
  readonly url: string;

  private constructor(child: ChildProcess, folder: string, port: number) {
    this.#process = child;
    this.#folder = folder;
    this.url = `redis://127.0.0.1:${port}`;
  }

  static async start(port?: number, ...options: string[]): Promise<RedisServer> {
    const chosen = port ?? (await freePort());
    const folder = await mkdtemp(join(tmpdir(), 'gradcam-redis-'));
    const args = ['--port', String(chosen), '--bind', '127.0.0.1', '--dir', folder, '--save', ''];
    const child = spawn('redis-server', [...args, '--appendonly', 'no', ...options], { stdio: 'ignore' });
    for (let tries = 0; tries < 100; tries++) {
      const socket = connect(chosen, '127.0.0.1');
      const reached = await once(socket, 'connect').then(
        () => true,
        () => false,
      );
      socket.destroy();
      if (reached) return new RedisServer(child, folder, chosen);
      await wait(50);
    }
    child.kill('SIGKILL');
    throw new Error(`redis-server does not answer on port ${chosen}.`);
  }

  async stop(): Promise<void> {
    const ended = once(this.#process, 'exit');
    this.#process.kill('SIGKILL');
    await ended;
    await rm(this.#folder, { recursive: true, force: true });
  }
}
