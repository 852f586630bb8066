import { dirname } from 'node:path';
import type { FastifyInstance, FastifyPluginAsync } from 'fastify';
import fastifyPlugin from 'fastify-plugin';
import { serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod';
import { packageVersion } from '../addon/package-version.js';
import { GradCamError } from '../errors/errors.js';
import { AdmissionGate } from './calls/admission.js';
import { CallRunner } from './calls/call.js';
import { ServerMetrics } from './calls/metrics.js';
import {
  type CheckedServerOptions,
  checkServerOptions,
  type ExplainServerOptions,
} from './configuration/options.js';
import { allowOrigins, checkHost, checkOrigin } from './http/callers.js';
import { errorHandler } from './http/errors.js';
import { health } from './http/health.js';
import { openApi } from './http/openapi.js';
import { alive, pageFiles } from './http/page-files.js';
import { hidingPlaces } from './http/private-places.js';
import { watchModels } from './models/file-watcher.js';
import { ModelRegistry } from './models/registry.js';
import { kserveV1 } from './protocols/kserve-v1/routes.js';
import { modelRepository } from './protocols/open-inference/model-repository.js';
import { openInference } from './protocols/open-inference/routes.js';
import { plainProtocol } from './protocols/plain/routes.js';

declare module 'fastify' {
  interface FastifyInstance {
    /** The models of the explain server. */
    gradcamModels: ModelRegistry;
  }
}

/** What one explain server is made of. */
export interface ServerParts {
  readonly options: CheckedServerOptions;
  readonly models: ModelRegistry;
  readonly gate: AdmissionGate;
  readonly metrics: ServerMetrics;
  readonly calls: CallRunner;
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
  const hidePlaces = hidingPlaces([
    ...definitions.flatMap(([, { path }]) => [path, dirname(path)]),
    ...(options.modelRepository === undefined ? [] : [options.modelRepository]),
  ]);
  return {
    options,
    models,
    gate,
    metrics,
    calls: new CallRunner(models, gate, metrics, options),
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
      await host.register(async (scope) => serveModels(scope, parts), prefix === undefined ? {} : { prefix });
    },
    { name: 'gradcam' },
  );

/** @internal All routes, with what they share. */
export async function serveModels(scope: FastifyInstance, parts: ServerParts): Promise<void> {
  const { options, models, gate, metrics, hidePlaces } = parts;
  scope.decorateRequest('gradcamAdmission', null);
  scope.setValidatorCompiler(validatorCompiler);
  scope.setSerializerCompiler(serializerCompiler);
  scope.setErrorHandler(errorHandler(() => gate.retryAfter, hidePlaces));
  scope.setNotFoundHandler(async (request, reply) => {
    const error = `There is nothing at ${request.method} ${request.url.split('?')[0]?.slice(0, 200)}.`;
    return reply.code(404).send({ error, code: 'ERR_NOT_FOUND', request_id: request.id });
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
    const route = (request.routeOptions.url ?? '(none)').replace('([^/:]+)::', ':');
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

  if (!scope.hasDecorator('swagger'))
    await openApi(scope, { version: packageVersion, secured: options.tokens.length > 0 });
  await scope.register(health, { models });
  if (options.page) await scope.register(pageFiles);
  else scope.get('/', { logLevel: 'warn', schema: { hide: true } }, async () => alive);
  await scope.register(protectedRoutes, parts);

  let watcher: ReturnType<typeof watchModels> | undefined;
  scope.addHook('onReady', async () => {
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
    await watcher?.close();
  });
  // Runs when all requests are answered.
  scope.addHook('onClose', async () => {
    await models.close();
  });
}

/** What no page of elsewhere may ask for, needs a token where there are tokens, and is refused under pressure. */
async function protectedRoutes(scope: FastifyInstance, parts: ServerParts): Promise<void> {
  const { options, models, gate, metrics, calls } = parts;
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
        errorResponseBuilder: (_request, { after }) =>
          new GradCamError('ERR_RATE_LIMITED', `Too many requests. Try again in ${after}.`),
      });
    }
    await inner.register(import('@fastify/under-pressure'), {
      maxRssBytes: options.maxRssBytes,
      maxEventLoopDelay: options.maxEventLoopDelayMs,
      pressureHandler: () => {
        throw new GradCamError('ERR_BUSY', 'The server is under pressure. Try again later.');
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
    await inner.register(kserveV1, { models, calls });
    await inner.register(openInference, { models, calls, version: packageVersion });
    await inner.register(modelRepository, { models, modelControl: options.modelControl });
  });
}
