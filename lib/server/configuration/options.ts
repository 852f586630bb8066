import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { type MethodName, methodNames } from '../../cam/methods/registry.js';
import { GradCamError } from '../../errors/errors.js';

const count = z.number().int().positive();
const milliseconds = z.number().nonnegative();
const port = z.number().int().min(0).max(65_535);

/** What a model may be called: it is part of addresses and, in a repository, of a file's name. */
export const modelName: z.ZodString = z
  .string()
  .regex(
    /^[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9_-])?$/,
    'A model is named with letters, digits, ".", "_" and "-", 100 at most',
  );

const modelSchema = z.strictObject({
  path: z
    .string()
    .min(1)
    .describe('The exported program (.pt2) or TorchScript file (.pt); its sidecar is read from beside it'),
  device: z
    .string()
    .regex(/^(cpu|auto|cuda(:\d{1,2})?)$/, "Expected 'cpu', 'cuda', 'cuda:N' or 'auto'")
    .optional(),
  layer: z.union([z.string(), z.array(z.string()).min(1)]).optional(),
  method: z.enum(methodNames as [MethodName, ...MethodName[]]).optional(),
  maxBatch: count.max(4096).optional(),
  maxDelayMs: milliseconds.max(60_000).optional(),
});

const hostName = z
  .string()
  .refine(
    (name) => name === '*' || isIP(name) !== 0 || /^\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*$/i.test(name),
    "Expected a name without a port, such as 'gradcam.example.com', '.example.com' for all names below it, or '*'",
  );

/** As browsers write it. Apps and extensions have schemes of their own, `capacitor://localhost`. */
const origin = z
  .string()
  .refine(
    (text) =>
      text === '*' ||
      (/^https?:/.test(text)
        ? URL.canParse(text) && new URL(text).origin === text
        : /^[a-z][a-z0-9+.-]*:\/\/[\w.-]+(:\d+)?$/.test(text)),
    "Expected an origin, such as 'https://app.example.com', or '*'",
  );

/** An address, a network (10.0.0.0/8), or one of the names that Fastify knows; several with commas between them. */
const proxies = z.string().refine(
  (text) =>
    text.split(',').every((each) => {
      const [address = '', bits, ...more] = each.trim().split('/');
      if (['loopback', 'linklocal', 'uniquelocal'].includes(address)) return bits === undefined;
      const largest = { 0: -1, 4: 32, 6: 128 }[isIP(address)] ?? -1;
      return largest > 0 && more.length === 0 && (bits === undefined || isCountUpTo(bits, largest));
    }),
  "Expected addresses or networks such as '10.0.0.0/8', 'loopback', 'linklocal' or 'uniquelocal'",
);

function isCountUpTo(text: string, largest: number): boolean {
  return /^\d+$/.test(text) && Number(text) <= largest;
}

const schema = z.strictObject({
  models: z.record(modelName, z.union([z.string().min(1), modelSchema])).default({}),
  modelRepository: z.string().min(1).optional(),
  modelControl: z.boolean().default(false),
  watch: z.boolean().default(false),
  device: modelSchema.shape.device.default('cpu'),
  maxBatch: count.max(4096).optional(),
  maxDelayMs: milliseconds.max(60_000).default(0),
  maxPending: count.default(256),
  maxPendingBytes: count.default(1024 ** 3),
  maxBodyBytes: count.default(32 * 1024 ** 2),
  maxWorkBytes: count.default(256 * 1024 ** 2),
  maxImagePixels: count.default(50_000_000),
  maxRssBytes: z.number().int().nonnegative().default(0),
  maxEventLoopDelayMs: milliseconds.default(0),
  deadlineMs: count.default(60_000),
  maxDeadlineMs: count.default(600_000),
  decodeThreads: count.max(64).default(2),
  executors: z.union([z.literal('auto'), count.max(1024)]).default('auto'),
  tokens: z.array(z.string().min(8, 'A token has at least 8 characters')).default([]),
  insecure: z.boolean().default(false),
  allowedHosts: z.array(hostName).optional(),
  allowedOrigins: z.array(origin).default([]),
  trustProxy: z.union([z.boolean(), proxies, z.array(proxies)]).default(false),
  rateLimit: z.strictObject({ max: count, timeWindowMs: count.default(60_000) }).optional(),
  page: z.boolean().default(true),
  grpcPort: port.optional(),
  grpcHost: z.string().min(1).default('127.0.0.1'),
});

/** A model to serve, or just the path of its file. */
export type ModelDefinition = z.infer<typeof modelSchema>;

/** The options, checked and complete. */
export type CheckedServerOptions = z.infer<typeof schema>;

/** What `createServer` and `explainServer` take. docs/server.md describes each with its default. */
export type ExplainServerOptions = z.input<typeof schema>;

/**
 * @throws {GradCamError} `ERR_SERVER_CONFIG`
 * @internal
 */
export function checkServerOptions(
  options: unknown,
  what = 'The options of the server',
): CheckedServerOptions {
  const parsed = schema.safeParse(options ?? {});
  if (!parsed.success) throw configError(what, describeIssues(parsed.error), parsed.error);
  const { models, modelRepository, deadlineMs, maxDeadlineMs } = parsed.data;
  if (Object.keys(models).length === 0 && modelRepository === undefined)
    throw configError(what, 'there is neither a model nor a repository of models');
  if (deadlineMs > maxDeadlineMs) throw configError(what, 'deadlineMs is larger than maxDeadlineMs');
  const { tokens, insecure, modelControl, allowedOrigins } = parsed.data;
  if (tokens.length === 0 && !insecure) {
    if (modelControl)
      throw configError(
        what,
        'with modelControl, whoever reaches the server could load and unload models: there are no tokens. Give it some (tokens, --token-file), or say that it is meant (insecure: true, --insecure)',
      );
    if (allowedOrigins.includes('*'))
      throw configError(
        what,
        "with allowedOrigins '*', every page that is open in a browser could use the server: there are no tokens. Name the origins, give it tokens (tokens, --token-file), or say that it is meant (insecure: true, --insecure)",
      );
  }
  return parsed.data;
}

const fileSchema = z.looseObject({
  host: z.string().min(1).optional(),
  port: port.optional(),
});

/** What a configuration file says: where to listen, and the options of the server. */
export interface ServerConfiguration {
  readonly host?: string;
  readonly port?: number;
  readonly options: ExplainServerOptions;
}

/**
 * Reads a JSON file with the server's options, `host` and `port`. Paths in it are relative to the file.
 * @throws {GradCamError} `ERR_SERVER_CONFIG`
 */
export async function readServerConfiguration(path: string): Promise<ServerConfiguration> {
  const what = `The configuration '${path}'`;
  let content: unknown;
  try {
    content = JSON.parse(await readFile(path, 'utf8'));
  } catch (cause) {
    throw configError(what, (cause as Error).message, cause);
  }
  const parsed = fileSchema.safeParse(content);
  if (!parsed.success) throw configError(what, describeIssues(parsed.error), parsed.error);
  const { host, port, ...rest } = parsed.data;
  const checked = schema.safeParse(rest);
  if (!checked.success) throw configError(what, describeIssues(checked.error), checked.error);
  const options = rest as ExplainServerOptions;
  const folder = dirname(resolve(path));
  const models = Object.fromEntries(
    Object.entries(options.models ?? {}).map(([name, definition]) => [
      name,
      typeof definition === 'string'
        ? resolve(folder, definition)
        : { ...definition, path: resolve(folder, definition.path) },
    ]),
  );
  return {
    ...(host === undefined ? {} : { host }),
    ...(port === undefined ? {} : { port }),
    options: {
      ...options,
      models,
      ...(options.modelRepository === undefined
        ? {}
        : { modelRepository: resolve(folder, options.modelRepository) }),
    },
  };
}

function configError(what: string, problem: string, cause?: unknown): GradCamError {
  return new GradCamError('ERR_SERVER_CONFIG', `${what}: ${problem}.`, cause === undefined ? {} : { cause });
}

function describeIssues(error: z.ZodError): string {
  return error.issues
    .map((issue) => {
      const message = issue.code === 'invalid_key' ? issue.issues[0]?.message : issue.message;
      return `${issue.path.join('.') || 'it'}: ${message}`;
    })
    .join('; ');
}
