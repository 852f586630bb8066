import { dirname } from 'node:path';
import type { FastifyInstance, FastifyPluginAsync, FastifyRequest } from 'fastify';
import fastifyPlugin from 'fastify-plugin';
import { serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod';
import { packageVersion } from '../addon/package-version.js';
import { setThreads } from '../addon/threads.js';
import { GradCamError } from '../errors/errors.js';
import { AdmissionGate } from './calls/admission.js';
import { CallRunner } from './calls/call.js';
import { ExecutorsByLoad } from './calls/executors-by-load.js';
import { ServerMetrics } from './calls/metrics.js';
import {
  type CheckedServerOptions,
  checkServerOptions,
  type ExplainServerOptions,
} from './configuration/options.js';
import type { GrpcEndpoint } from './grpc/endpoint.js';
import type { GrpcServer } from './grpc/grpc-server.js';
import { allowOrigins, checkHost, checkOrigin } from './http/callers.js';
import { compression } from './http/compression.js';
import { errorHandler } from './http/errors.js';
import { health } from './http/health.js';
import { refuseOtherMethods } from './http/methods.js';
import { openApi } from './http/openapi.js';
import { alive, pageFiles } from './http/page-files.js';
import { hidingPlaces } from './http/private-places.js';
import { watchModels } from './models/file-watcher.js';
import { ModelRegistry } from './models/registry.js';
import { kserveV1 } from './protocols/kserve-v1/routes.js';
import { modelRepository } from './protocols/open-inference/model-repository.js';
import { openInference } from './protocols/open-inference/routes.js';
import { plainProtocol } from './protocols/plain/routes.js';
import { Workers } from './workers/workers.js';

declare module 'fastify' {
  interface FastifyInstance {
    /** The models of the explain server. */
    gradcamModels: ModelRegistry;
    /** The explain server's port for gRPC; null where it has none (`grpcPort`). */
    gradcamGrpc: GrpcEndpoint | null;
  }
}

/** What one explain server is made of. */
export interface ServerParts {
  readonly options: CheckedServerOptions;
  readonly models: ModelRegistry;
  readonly gate: AdmissionGate;
  readonly metrics: ServerMetrics;
  readonly calls: CallRunner;
  readonly workers: Workers;
  /** Takes the places of this machine out of a text for clients. */
  readonly hidePlaces: (text: string) => string;
}

/** @internal */
export function makeParts(options: CheckedServerOptions): ServerParts {
  const definitions = Object.entries(options.models).map(
    ([name, each]) => [name, typeof each === 'string' ? { path: each } : each] as const,
  );
  const models = new ModelRegistry({ ...options, models: Object.fromEntries(definitions) });
  const gate = new AdmissionGate(options);
  const metrics = new ServerMetrics(models, gate);
  const workers = new Workers(options.decodeThreads);
  const hidePlaces = hidingPlaces([
    ...definitions.flatMap(([, { path }]) => [path, dirname(path)]),
    ...(options.modelRepository === undefined ? [] : [options.modelRepository]),
  ]);
  return {
    options,
    models,
    gate,
    metrics,
    workers,
    calls: new CallRunner(models, gate, metrics, options, workers),
    hidePlaces,
  };
}

/**
 * The explain server as a Fastify plugin, for a server of your own. What it checks, limits and answers concerns its routes
 * alone; `gradcamModels` is there for the instance that it is registered in. Its models begin to load when the server is
 * ready; `gradcamModels.whenLoaded()` tells when they are. `trustProxy` is an option of your server, not of the plugin.
 * @throws {GradCamError} `ERR_SERVER_CONFIG`
 * @example await app.register(explainServer, { prefix: '/explain', models: { resnet50: 'resnet50.pt' } });
 */
export const explainServer: FastifyPluginAsync<ExplainServerOptions & { readonly prefix?: string }> =
  fastifyPlugin(
    async (
      host: FastifyInstance,
      { prefix, ...given }: ExplainServerOptions & { readonly prefix?: string },
    ) => {
      if (given.trustProxy !== undefined)
        throw new GradCamError(
          'ERR_SERVER_CONFIG',
          'The options of explainServer: trustProxy concerns the whole server. Give it to Fastify({ trustProxy }).',
        );
      const parts = makeParts(checkServerOptions(given));
      host.decorate('gradcamModels', parts.models);
      const grpc = await decorateWithGrpc(host, parts);
      const under: { prefix?: string } = prefix === undefined ? {} : { prefix };
      await host.register(async (scope) => serveModels(scope, parts, grpc), under);
    },
    { name: 'gradcam' },
  );

/** @internal All routes, with what they share. */
export async function serveModels(
  scope: FastifyInstance,
  parts: ServerParts,
  grpc: GrpcServer | null,
): Promise<void> {
  const { options, models, gate, metrics, workers, hidePlaces } = parts;
  scope.decorateRequest('gradcamAdmission', null);
  scope.setValidatorCompiler(validatorCompiler);
  scope.setSerializerCompiler(serializerCompiler);
  scope.setErrorHandler(errorHandler(() => gate.retryAfter, hidePlaces));
  scope.setNotFoundHandler(async ({ method, url }) => {
    const path = url.split('?')[0]?.slice(0, 200);
    throw new GradCamError('ERR_NOT_FOUND', `There is nothing at ${method} ${path}.`);
  });
  // The server around may allow less.
  scope.addHook('onRoute', (route) => {
    route.bodyLimit ??= options.maxBodyBytes;
  });
  scope.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id);
    checkHost(request, options);
  });
  await allowOrigins(scope, options);
  // A connection that stayed open after its answer would hold up the end until its client lets go.
  scope.addHook('onSend', async (_request, reply) => {
    if (models.closing) reply.header('connection', 'close');
  });
  scope.addHook('onResponse', async (request, reply) => {
    // As the OpenAPI document writes it: without the router's way to say where the name of a model ends.
    const route = (request.routeOptions.url ?? '(none)').replace('([^/:]+)', '').replace('::', ':');
    metrics.answered(request.method, route, reply.statusCode);
    if (request.routeOptions.logLevel === 'warn') return;
    request.log.info(
      {
        method: request.method,
        url: request.url,
        status: reply.statusCode,
        ms: Math.round(reply.elapsedTime),
      },
      'answered',
    );
  });

  await compression(scope);
  const refuse = refuseOtherMethods(scope);
  if (!scope.hasDecorator('swagger'))
    await openApi(scope, { version: packageVersion, secured: options.tokens.length > 0 });
  await scope.register(health, { models });
  if (options.page) await scope.register(pageFiles);
  else scope.get('/', { logLevel: 'warn', schema: { hide: true } }, async () => alive);
  await scope.register(protectedRoutes, { ...parts, grpc });
  refuse();

  let watcher: ReturnType<typeof watchModels> | undefined;
  let executors: ExecutorsByLoad | undefined;
  scope.addHook('onReady', async () => {
    workers.prepare();
    executors = divideCores(options);
    if (executors) gate.onChange = (maps) => executors?.update(maps);
    await grpc?.listen();
    void models.start(scope.log);
    if (options.watch) {
      const paths = Object.entries(options.models).map(([name, each]) => [
        name,
        typeof each === 'string' ? each : each.path,
      ]);
      const watched = { paths: Object.fromEntries(paths), repository: options.modelRepository };
      watcher = watchModels(models, watched, scope.log);
    }
  });
  scope.addHook('preClose', async () => {
    models.stopLoading();
    void grpc?.end();
    await watcher?.close();
  });
  // Runs when all requests over HTTP are answered.
  scope.addHook('onClose', async () => {
    await grpc?.end();
    await models.close();
    await workers.close();
    executors?.close();
  });
}

/** By the load where nothing else is said; a GPU is divided by its streams, not by cores. */
function divideCores({ executors, device, models }: CheckedServerOptions): ExecutorsByLoad | undefined {
  if (executors !== 'auto') setThreads({ executors });
  const devices = Object.values(models).map((each) => (typeof each === 'string' ? undefined : each.device));
  const onCpu = [device, ...devices].every((each) => each === undefined || each === 'cpu');
  return executors === 'auto' && onCpu ? new ExecutorsByLoad() : undefined;
}

/** @internal Only here: gRPC is loaded where it is spoken. */
export async function decorateWithGrpc(
  host: FastifyInstance,
  parts: ServerParts,
): Promise<GrpcServer | null> {
  let grpc: GrpcServer | null = null;
  if (parts.options.grpcPort !== undefined) {
    const { GrpcServer } = await import('./grpc/grpc-server.js');
    grpc = new GrpcServer({ ...parts, log: host.log });
  }
  host.decorate('gradcamGrpc', grpc);
  return grpc;
}

/** What no page of elsewhere may ask for, needs a token where there are tokens, and is refused under pressure. */
async function protectedRoutes(
  scope: FastifyInstance,
  parts: ServerParts & { readonly grpc: GrpcServer | null },
): Promise<void> {
  const { options, models, gate, metrics, calls, workers, grpc } = parts;
  scope.addHook('onRequest', async (request) => checkOrigin(request, options));
  if (options.tokens.length > 0) {
    await scope.register(import('@fastify/bearer-auth'), {
      keys: new Set(options.tokens),
      // As a hook of ours, its failures are answered as all others are.
      addHook: false,
      verifyErrorLogLevel: 'debug',
    });
    scope.addHook('onRequest', (request, reply, done) => {
      reply.header('www-authenticate', 'Bearer');
      scope.verifyBearerAuth?.(request, reply, (error) => {
        if (!error) reply.removeHeader('www-authenticate');
        done(error);
      });
    });
  }
  scope.get('/metrics', { logLevel: 'warn', schema: { hide: true } }, async (_request, reply) =>
    reply.type(metrics.contentType).send(await metrics.text()),
  );
  await scope.register(async (inner) => {
    if (options.rateLimit) {
      await inner.register(import('@fastify/rate-limit'), {
        max: options.rateLimit.max,
        timeWindow: options.rateLimit.timeWindowMs,
        errorResponseBuilder: (_request, { after }) => tooMany(after),
      });
    }
    await inner.register(import('@fastify/under-pressure'), {
      maxRssBytes: options.maxRssBytes,
      maxEventLoopDelay: options.maxEventLoopDelayMs,
      pressureHandler: () => {
        throw new GradCamError('ERR_BUSY', 'The server is under pressure. Try again later.');
      },
    });
    grpc?.limitBy({
      isUnderPressure: () => inner.isUnderPressure(),
      countRequest: async (ip) => {
        if (options.rateLimit) await countRequest(inner, ip);
      },
    });
    inner.addHook('onRequest', async (request, reply) => calls.admit(request, reply));
    await inner.register(plainProtocol, {
      models,
      calls,
      pending: () => gate.pending,
      hidePlaces: parts.hidePlaces,
      maxBodyBytes: options.maxBodyBytes,
    });
    await inner.register(kserveV1, { models, calls, workers });
    await inner.register(openInference, { models, calls, metrics, workers, version: packageVersion });
    await inner.register(modelRepository, { models, workers, modelControl: options.modelControl });
  });
}

/** Counts a request of an address that did not come over HTTP, with those that did. */
async function countRequest(scope: FastifyInstance, ip: string): Promise<void> {
  const asked = { ip, routeOptions: {} } as FastifyRequest;
  const limit = await scope.createRateLimit()(asked);
  if (!limit.isAllowed && limit.isExceeded) throw tooMany(`${limit.ttlInSeconds} seconds`);
}

function tooMany(after: string): GradCamError {
  return new GradCamError('ERR_RATE_LIMITED', `Too many requests. Try again in ${after}.`);
}
