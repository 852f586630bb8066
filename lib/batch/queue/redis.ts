import type { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { GradCamError, invalidArgumentType } from '../../errors/errors.js';
import type { JobData } from './jobs.js';

// BullMQ and ioredis are loaded when a queue is used, so that batches without one need neither.

/** Where the work is handed out. */
export interface BatchQueueOptions {
  /** `redis://[[user]:password@]host[:port][/database]`; `rediss://` for TLS. Default `redis://127.0.0.1:6379`. */
  readonly redis?: string;
  /** Workers take the work of one queue. Letters, digits, dots, hyphens. Default `'gradcam'`. */
  readonly queue?: string;
}

/** @internal BullMQ's keys begin with it, so that they do not meet those of other programs. */
export const keyPrefix = 'gradcam';

/** @internal */
export interface Address {
  readonly url: string;
  readonly queue: string;
  /** For people: the URL without its password. */
  readonly shown: string;
}

/**
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`
 * @internal
 */
export function checkAddress({
  redis = 'redis://127.0.0.1:6379',
  queue = 'gradcam',
}: BatchQueueOptions): Address {
  const parsed = typeof redis === 'string' && URL.canParse(redis) ? new URL(redis) : null;
  // What is no such URL may hold a password as well, at a place that cannot be told.
  if (!parsed || !['redis:', 'rediss:'].includes(parsed.protocol))
    throw Object.assign(
      new TypeError(
        `Expected a URL such as redis://127.0.0.1:6379 for redis, but received ${typeof redis === 'string' ? 'something else' : typeof redis} (not shown, for it may hold a password).`,
      ),
      { code: 'ERR_INVALID_ARG_TYPE' },
    );
  if (typeof queue !== 'string' || !/^[\w.-]{1,100}$/.test(queue))
    throw invalidArgumentType('queue', 'a name of letters, digits, dots and hyphens', queue);
  return { url: redis, queue, shown: withoutSecrets(parsed) };
}

/** Options behind a question mark can be a password, as can a user's name that stands alone by mistake. */
function withoutSecrets(url: URL): string {
  const shown = new URL(url);
  if (url.password) shown.password = '***';
  else if (url.username) shown.username = '***';
  shown.search = '';
  shown.hash = '';
  return shown.href;
}

/** Milliseconds until a Redis that does not answer is taken for absent. */
const longestWait = 5_000;

/**
 * A connection that is there. Later losses are mended: with `patient` for as long as it takes, as workers need it, else
 * commands fail after a few tries.
 * @throws {GradCamError} `ERR_REDIS`
 * @internal
 */
export async function connect(address: Address, { patient }: { readonly patient: boolean }): Promise<Redis> {
  let connected = false;
  let lastError: Error | undefined;
  const { Redis: Client } = await import('ioredis');
  const client = new Client(address.url, {
    lazyConnect: true,
    connectTimeout: longestWait,
    maxRetriesPerRequest: patient ? null : 3,
    ...(patient ? {} : { commandTimeout: longestWait }),
    retryStrategy: (times) => (connected ? Math.min(times * 500, 5_000) : null),
  });
  client.on('error', (error: Error) => {
    lastError = error;
  });
  // What listens there may be no Redis, and never answer.
  const deadline = setTimeout(() => {
    lastError = new Error(`no answer in ${longestWait / 1000} seconds`);
    client.disconnect();
  }, longestWait);
  try {
    await client.connect();
    connected = true;
    return client;
  } catch (error) {
    client.disconnect();
    throw redisError(address, lastError ?? error);
  } finally {
    clearTimeout(deadline);
  }
}

function redisError(address: Address, cause: unknown): GradCamError {
  // ioredis keeps what was refused with the error; of a login that is the password.
  if (cause instanceof Error) delete (cause as Error & { command?: unknown }).command;
  const { message, code } = cause as Error & { code?: string };
  const reason = message || code || String(cause);
  return new GradCamError(
    'ERR_REDIS',
    `Redis at ${address.shown} cannot be used: ${reason}. Is it running there, and is the address right (--redis, or REDIS_URL)?`,
    { cause },
  );
}

/** BullMQ reads JSON that it wrote, and somebody else may have changed. */
function damagedError({ shown, queue }: Address, cause: Error): GradCamError {
  return new GradCamError(
    'ERR_REDIS',
    `What Redis at ${shown} holds of the queue '${queue}' is damaged: ${cause.message}. Take another queue (--queue), and submit again.`,
    { cause },
  );
}

const redisFailures = new Set([
  'MaxRetriesPerRequestError',
  'ReplyError',
  'ConnectionClosedError',
  'AbortError',
]);

/** @internal What Redis or the way to it is to blame for becomes an `ERR_REDIS`. */
export function orRedisError(address: Address, error: unknown): unknown {
  if (error instanceof SyntaxError) return damagedError(address, error);
  const { name, message, syscall } = error as Error & { syscall?: string };
  const isRedis =
    redisFailures.has(name) ||
    message === 'Connection is closed.' ||
    message === 'Command timed out' ||
    syscall === 'connect' ||
    syscall === 'read';
  return isRedis && !(error instanceof GradCamError) ? redisError(address, error) : error;
}

/** @internal A queue for what is not a worker. */
export class OpenQueue implements AsyncDisposable {
  readonly queue: Queue<JobData>;
  readonly client: Redis;

  private constructor(queue: Queue<JobData>, client: Redis) {
    this.client = client;
    this.queue = queue;
    this.queue.on('error', () => {}); // The command that met it tells.
  }

  static async open(address: Address): Promise<OpenQueue> {
    const { Queue: JobQueue } = await import('bullmq');
    const client = await connect(address, { patient: false });
    return new OpenQueue(
      new JobQueue<JobData>(address.queue, { connection: client, prefix: keyPrefix }),
      client,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.queue.close().catch(() => {});
    this.client.disconnect();
  }
}
