import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { GradCamError, invalidArgumentType } from '../../errors/errors.js';
import type { ChunkData } from '../specification/specification.js';

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
  if (!parsed || !['redis:', 'rediss:'].includes(parsed.protocol))
    throw invalidArgumentType(
      'redis',
      'a URL such as redis://127.0.0.1:6379',
      parsed ? parsed.protocol : withoutSecrets(redis),
    );
  if (typeof queue !== 'string' || !/^[\w.-]{1,100}$/.test(queue))
    throw invalidArgumentType('queue', 'a name of letters, digits, dots and hyphens', queue);
  if (parsed.password) parsed.password = '***';
  parsed.search = ''; // A password may be among the options, too.
  return { url: redis, queue, shown: parsed.href };
}

/** Of what is no URL but was meant as one: all that may hold a password becomes stars. */
function withoutSecrets(redis: unknown): unknown {
  if (typeof redis !== 'string') return redis;
  return redis.replace(/^([a-z]+:\/\/)?.*@/is, '$1***@').replace(/\?.*$/s, '');
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
  const client = new Redis(address.url, {
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

const redisFailures = new Set([
  'MaxRetriesPerRequestError',
  'ReplyError',
  'ConnectionClosedError',
  'AbortError',
]);

/** @internal What Redis or the way to it is to blame for becomes an `ERR_REDIS`. */
export function orRedisError(address: Address, error: unknown): unknown {
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
  readonly queue: Queue<ChunkData>;
  readonly client: Redis;

  private constructor(address: Address, client: Redis) {
    this.client = client;
    this.queue = new Queue<ChunkData>(address.queue, { connection: client, prefix: keyPrefix });
    this.queue.on('error', () => {}); // The command that met it tells.
  }

  static async open(address: Address): Promise<OpenQueue> {
    return new OpenQueue(address, await connect(address, { patient: false }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.queue.close().catch(() => {});
    this.client.disconnect();
  }
}
