import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { basename } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { setThreads, threads } from '../../addon/threads.js';
import { UsageError } from '../../errors/usage-error.js';
import type { ExplainServerOptions } from '../../server/index.js';
import { collect, parseCount } from '../options/arguments.js';
import { failureOf } from '../terminal/exit-codes.js';

interface ServeFlags {
  readonly model?: string[];
  readonly modelRepository?: string;
  readonly modelControl?: boolean;
  readonly watch?: boolean;
  readonly config?: string;
  readonly host?: string;
  readonly port?: number;
  readonly grpcPort?: number;
  readonly device?: string;
  readonly maxBatch?: number;
  readonly maxDelay?: number;
  readonly maxPending?: number;
  readonly maxBody?: number;
  readonly maxWork?: number;
  readonly maxPixels?: number;
  readonly maxRss?: number;
  readonly deadline?: number;
  readonly rateLimit?: number;
  readonly tokenFile?: string;
  readonly allowedHost?: string[];
  readonly allowedOrigin?: string[];
  readonly trustProxy?: string;
  readonly insecure?: boolean;
  readonly executors?: number;
  readonly threads?: number;
  readonly drainDelay: number;
  readonly drainTimeout: number;
  readonly logLevel?: string;
  readonly page: boolean;
}

const mebibyte = 1024 ** 2;

export function serveCommand(interruption: AbortSignal): Command {
  return new Command('serve')
    .summary('explain over HTTP and gRPC')
    .description(
      'Serves models over HTTP: a page for people at /, KServe V1, the Open Inference Protocol V2, and plain pictures ' +
        'in and out (POST /explain/NAME); with --grpc-port the Open Inference Protocol over gRPC, too. Sidecars (model.json) ' +
        'say how pictures are prepared. A model that cannot be loaded is told of, and the others are served; where none can, ' +
        'the command ends with 3. docs/server.md has more.',
    )
    .option('-m, --model <name=path>', 'model to serve, as model.pt or name=model.pt; several times', collect)
    .option('--model-repository <folder>', 'serve every NAME.pt2 and NAME.pt in it')
    .option('--model-control', 'let requests load and unload models (/v2/repository)')
    .option('--watch', 'load a model anew when its file changes')
    .option('-c, --config <file>', 'options from a JSON file; flags given here win')
    .option('--host <address>', 'where to listen: 0.0.0.0 for all networks; default: 127.0.0.1')
    .option('-p, --port <port>', 'default: 8080; 0 for any free one', parsePort)
    .option(
      '--grpc-port <port>',
      'also speak gRPC, on this port of the same address; 0: any free one',
      parsePort,
    )
    .option('--device <device>', "'cpu', 'cuda', 'cuda:N' or 'auto'; default: cpu")
    .option('--max-batch <images>', 'most images in one batch; default: 8, on a GPU 32', parseCount)
    .option('--max-delay <ms>', 'how long an image waits for a fuller batch; default: 0', parseMilliseconds)
    .option('--max-pending <maps>', 'most maps on their way; more get 503; default: 256', parseCount)
    .option('--max-body <MiB>', 'largest request; default: 32', parseCount)
    .option('--max-work <MiB>', 'most memory for the maps and answer of a request; default: 256', parseCount)
    .option('--max-pixels <count>', 'largest picture; default: 50000000', parseCount)
    .option('--max-rss <MiB>', 'refuse requests while the process is larger; default: no bound', parseCount)
    .option('--deadline <ms>', 'for requests without their own; default: 60000', parseCount)
    .option('--rate-limit <count>', 'most requests a minute of one address; default: no bound', parseCount)
    .option('--token-file <file>', 'bearer tokens, one a line; also the variable GRADCAM_TOKEN')
    .option('--allowed-host <name>', 'a name that the server may be called by; several times', collect)
    .option('--allowed-origin <origin>', 'whose pages may use the server (CORS); several times', collect)
    .option('--trust-proxy <addresses>', "proxies that tell whose requests they bring: '10.0.0.0/8,::1'")
    .option('--insecure', 'allow --model-control without tokens')
    .option('--executors <count>', 'batches that are computed at once; default: by the load', parseCount)
    .option('--threads <count>', 'threads for each of them', parseCount)
    .option(
      '--drain-delay <ms>',
      'on SIGTERM: go on so long, not ready, before closing',
      parseMilliseconds,
      0,
    )
    .option('--drain-timeout <ms>', 'on SIGTERM: give up on what is not answered by then', parseCount, 60_000)
    .option('--log-level <level>', 'trace, debug, info, warn, error; default: info, on a terminal warn')
    .option('--no-page', 'no page at /')
    .addHelpText(
      'after',
      `
Examples:
  gradcam serve -m resnet50.pt
  gradcam serve -m cats=cats.pt -m dogs=dogs.pt --watch
  gradcam serve -c server.json --host 0.0.0.0 --token-file tokens
  curl --data-binary @cat.jpg localhost:8080/explain/resnet50 -o heat.png`,
    )
    .action((flags: ServeFlags) => serve(flags, interruption));
}

/** Serves until Ctrl-C. Other signals and defects end the server, too, and the whole process with it. */
async function serve(flags: ServeFlags, interruption: AbortSignal): Promise<void> {
  // Only here: Fastify and what comes with it are loaded when they are needed.
  const { createServer, drain, readServerConfiguration } = await import('../../server/index.js');
  const { default: closeWithGrace } = await import('close-with-grace');
  const fromFile = flags.config === undefined ? { options: {} } : await readServerConfiguration(flags.config);
  const merged = await mergeFlags(fromFile.options, flags);
  const host = flags.host ?? ('host' in fromFile ? fromFile.host : undefined) ?? '127.0.0.1';
  const options = { ...merged, ...namedBy(host, merged) };
  const port = flags.port ?? ('port' in fromFile ? fromFile.port : undefined) ?? 8080;
  const level = flags.logLevel ?? (process.stdout.isTTY ? 'warn' : 'info');
  interruption.throwIfAborted();
  const server = createServer({ ...options, grpcHost: options.grpcHost ?? host, logger: { level } });
  const threadsBefore = threads();

  const interrupted = once(interruption, 'abort');
  let closing = false;
  const signals = closeWithGrace(
    { delay: flags.drainTimeout, logger: server.log, skip: ['SIGINT'] },
    async ({ signal, err }) => {
      closing = true;
      if (err) server.log.error({ err }, 'closing after a defect');
      else server.log.info({ signal }, 'draining');
      await drain(server, { delayMs: signal === 'SIGTERM' ? flags.drainDelay : 0 });
    },
  );
  const start = async () => {
    const address = await server.listen({ host, port });
    if ((options.tokens ?? []).length === 0 && !isLoopback(host))
      server.log.warn(
        `everybody who reaches ${host} may use this server: there are no tokens (--token-file)`,
      );
    const grpc = server.gradcamGrpc?.address ?? null;
    console.error(
      `Listening on ${address},${grpc === null ? '' : ` for gRPC on ${grpc},`} loading ${server.gradcamModels.names.join(', ') || 'the repository'} ...`,
    );
    const failure = await server.gradcamModels.whenLoaded().then(
      () => null,
      (error: unknown) => ({ error }),
    );
    const models = server.gradcamModels.status();
    const ready = models.filter(({ state }) => state === 'READY');
    if (failure && ready.length === 0) throw failure.error;
    // As createServer() does: one model that cannot be loaded is no reason to serve none. The readiness probe tells of it.
    if (failure) {
      const failed = models.filter(({ state, reason }) => state !== 'READY' && reason !== 'not loaded');
      const only = failed.length === 1 ? failureOf(failure.error).message : null;
      for (const { name, reason } of failed) console.error(`Not ready: ${name}: ${only ?? reason}`);
    }
    console.error(`Ready: ${ready.map(({ name }) => name).join(', ')}`);
  };
  try {
    if (flags.threads !== undefined) setThreads({ intraOpThreads: flags.threads });
    await Promise.race([start(), interrupted]);
    await interrupted;
    signals.uninstall(); // A second signal ends the process at once.
    server.log.info({ signal: 'SIGINT' }, 'draining');
    const late = AbortSignal.timeout(flags.drainTimeout);
    const destroy = () => {
      server.server.closeAllConnections();
      server.gradcamGrpc?.destroy();
    };
    late.addEventListener('abort', destroy, { once: true });
    await drain(server);
    late.throwIfAborted();
  } catch (error) {
    if (closing) return;
    await server.close();
    throw error;
  } finally {
    signals.uninstall();
    setThreads(threadsBefore);
  }
}

async function mergeFlags(base: ExplainServerOptions, flags: ServeFlags): Promise<ExplainServerOptions> {
  const models = { ...base.models };
  for (const each of flags.model ?? []) {
    const [name, path] = each.includes('=')
      ? splitOnce(each)
      : [basename(each).replace(/\.[^.]+$/, ''), each];
    models[name] = path;
  }
  const tokens = await readTokens(flags.tokenFile);
  const given = {
    modelRepository: flags.modelRepository,
    modelControl: flags.modelControl,
    grpcPort: flags.grpcPort,
    watch: flags.watch,
    device: flags.device,
    maxBatch: flags.maxBatch,
    maxDelayMs: flags.maxDelay,
    executors: flags.executors,
    maxPending: flags.maxPending,
    maxBodyBytes: flags.maxBody === undefined ? undefined : flags.maxBody * mebibyte,
    maxWorkBytes: flags.maxWork === undefined ? undefined : flags.maxWork * mebibyte,
    maxImagePixels: flags.maxPixels,
    maxRssBytes: flags.maxRss === undefined ? undefined : flags.maxRss * mebibyte,
    deadlineMs: flags.deadline,
    maxDeadlineMs:
      flags.deadline === undefined ? undefined : Math.max(flags.deadline, base.maxDeadlineMs ?? 600_000),
    rateLimit: flags.rateLimit === undefined ? undefined : { max: flags.rateLimit },
    tokens: tokens.length > 0 ? tokens : undefined,
    allowedHosts: flags.allowedHost,
    allowedOrigins: flags.allowedOrigin,
    trustProxy: flags.trustProxy,
    insecure: flags.insecure,
    page: flags.page ? undefined : false,
  };
  const set = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  return { ...base, ...set, models };
}

function splitOnce(text: string): [string, string] {
  const position = text.indexOf('=');
  return [text.slice(0, position), text.slice(position + 1)];
}

/** Not from the command line itself, which every user of the machine can read. */
async function readTokens(file: string | undefined): Promise<string[]> {
  const { GRADCAM_TOKEN } = process.env;
  const own = GRADCAM_TOKEN ? [GRADCAM_TOKEN] : [];
  if (file === undefined) return own;
  try {
    const lines = (await readFile(file, 'utf8')).split(/\r?\n/).map((line) => line.trim());
    const tokens = lines.filter((line) => line !== '');
    if (tokens.length > 0) return [...own, ...tokens];
  } catch (error) {
    throw new UsageError(`--token-file: cannot read '${file}': ${(error as Error).message}`);
  }
  throw new UsageError(`--token-file: there is no token in '${file}'.`);
}

/** Where the server listens under a name, that is one of its names. */
function namedBy(
  host: string,
  { allowedHosts, tokens = [] }: ExplainServerOptions,
): Pick<ExplainServerOptions, 'allowedHosts'> {
  const anyName = allowedHosts === undefined && tokens.length > 0;
  return anyName || isIP(host) !== 0 ? {} : { allowedHosts: [...(allowedHosts ?? []), host] };
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.');
}

function parsePort(value: string): number {
  const port = Number(value);
  if (!/^\d+$/.test(value) || port > 65_535)
    throw new InvalidArgumentError('It must be a port from 0 to 65535.');
  return port;
}

function parseMilliseconds(value: string): number {
  const milliseconds = Number(value);
  if (value.trim() === '' || !(milliseconds >= 0 && milliseconds <= 3_600_000))
    throw new InvalidArgumentError('It must be milliseconds from 0 to 3600000.');
  return milliseconds;
}
