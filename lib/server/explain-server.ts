import type { FastifyInstance } from 'fastify';
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
import { compression } from './http/compression.js';
import { errorHandler } from './http/errors.js';
import { health } from './http/health.js';
import { refuseOtherMethods } from './http/methods.js';
import { openApi } from './http/openapi.js';
import { alive, pageFiles } from './http/page-files.js';
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

/** @internal The registry that the options describe. */
function makeRegistry(options: CheckedServerOptions): ModelRegistry {
  const models = Object.fromEntries(
    Object.entries(options.models).map(([name, each]) => [
      name,
      typeof each === 'string' ? { path: each } : each,
    ]),
  );
  return new ModelRegistry({ ...options, models });
}

/**
 * The explain server as a Fastify plugin, for a server of your own. Its models begin to load when the server is ready;
 * `gradcamModels.whenLoaded()` tells when they are.
 * @throws {GradCamError} `ERR_SERVER_CONFIG`
 * @example await app.register(explainServer, { prefix: '/explain', models: { resnet50: 'resnet50.pt' } });
 */
export async function explainServer(
  scope: FastifyInstance,
  { prefix: _prefix, ...given }: ExplainServerOptions & { readonly prefix?: string },
): Promise<void> {
  const options = checkServerOptions(given);
  const models = makeRegistry(options);
  const gate = new AdmissionGate(options);
  const metrics = new ServerMetrics(models, gate);
  const calls = new CallRunner(models, gate, metrics, options);
  scope.decorate('gradcamModels', models);
  scope.decorateRequest('gradcamAdmission', null);
  scope.setValidatorCompiler(validatorCompiler);
  scope.setSerializerCompiler(serializerCompiler);
  scope.setErrorHandler(errorHandler(() => gate.retryAfter));
  scope.setNotFoundHandler(async ({ method, url }) => {
    const path = url.split('?')[0]?.slice(0, 200);
    throw new GradCamError('ERR_NOT_FOUND', `There is nothing at ${method} ${path}.`);
  });
  scope.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id);
  });
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
  await scope.register(protectedRoutes, { options, models, gate, metrics, calls });
  refuse();

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

interface ProtectedOptions {
  readonly options: CheckedServerOptions;
  readonly models: ModelRegistry;
  readonly gate: AdmissionGate;
  readonly metrics: ServerMetrics;
  readonly calls: CallRunner;
}

/** What needs a token where there are tokens, and is refused under pressure. */
async function protectedRoutes(scope: FastifyInstance, parts: ProtectedOptions): Promise<void> {
  const { options, models, gate, metrics, calls } = parts;
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
          Object.assign(
            new GradCamError('ERR_INVALID_REQUEST', `Too many requests. Try again in ${after}.`),
            {
              statusCode: 429,
            },
          ),
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
      maxBodyBytes: options.maxBodyBytes,
    });
    await inner.register(kserveV1, { models, calls });
    await inner.register(openInference, { models, calls, metrics, version: packageVersion });
    await inner.register(modelRepository, { models, modelControl: options.modelControl });
  });
}
