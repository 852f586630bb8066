import { randomUUID } from 'node:crypto';
import type { Socket } from 'node:net';
import Fastify, {
  type FastifyInstance,
  type FastifyReply,
  type FastifyServerOptions,
  LogController,
} from 'fastify';
import fastifyPlugin from 'fastify-plugin';
import { checkServerOptions, type ExplainServerOptions } from './configuration/options.js';
import { decorateWithGrpc, makeParts, serveModels } from './explain-server.js';
import { answerParserFailure, describeFailure } from './http/errors.js';
import { requestIdOf } from './http/request-id.js';
import type { ModelRegistry } from './models/registry.js';

export interface CreateServerOptions extends ExplainServerOptions {
  /** As Fastify's `logger`: true for JSON lines on standard output, or pino's options. Default false. */
  readonly logger?: FastifyServerOptions['logger'];
}

/** A Fastify server that explains. */
export type ExplainServer = FastifyInstance & {
  /** Its models: which there are, whether they are ready; `whenLoaded()` tells when. */
  readonly gradcamModels: ModelRegistry;
};

/**
 * A server that explains for many clients at once: KServe V1, the Open Inference Protocol V2, a plain protocol and a page
 * for people. It answers from `listen()` on, is ready when its models are loaded and warm, and on `close()` finishes what
 * it has accepted. Listens on loopback unless told otherwise.
 * @throws {GradCamError} `ERR_SERVER_CONFIG`
 * @example
 * const server = createServer({ models: { resnet50: 'resnet50.pt' } });
 * await server.listen({ port: 8080 });
 * await server.gradcamModels.whenLoaded();
 */
export function createServer(options: CreateServerOptions): ExplainServer {
  const { logger = false, ...given } = options ?? {};
  const checked = checkServerOptions(given);
  const parts = makeParts(checked);
  const server = Fastify({
    logger,
    bodyLimit: checked.maxBodyBytes,
    trustProxy: checked.trustProxy,
    // A body that trickles in is given up with 408.
    requestTimeout: checked.deadlineMs,
    // Node takes the larger of the two for bodies, so headers may not have more.
    http: {
      connectionsCheckingInterval: 1000,
      requestTimeout: checked.deadlineMs,
      headersTimeout: Math.min(60_000, checked.deadlineMs),
    },
    keepAliveTimeout: 72_000,
    // While it closes, what arrives on open connections is still answered, and each answer closes its connection.
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    // One line for each answer, written by explainServer.
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'request_id' }),
    requestIdHeader: false,
    // What is wrong before any route is found is answered as all other failures are.
    frameworkErrors: (error, request, reply) => {
      const { status, body } = describeFailure(error, request.id, parts.hidePlaces);
      void (reply as FastifyReply).code(status).send(body);
    },
    clientErrorHandler: answerParserFailure,
    genReqId: ({ headers }) => requestIdOf(headers['x-request-id']) ?? randomUUID(),
  });
  closeSilentConnections(server);
  server.decorate('gradcamModels', parts.models);
  // Not encapsulated: what it decorates and handles is the whole server's.
  server.register(
    fastifyPlugin(
      async (scope: FastifyInstance) => serveModels(scope, parts, await decorateWithGrpc(scope, parts)),
      { name: 'gradcam' },
    ),
  );
  return server as ExplainServer;
}

const silence = 1000;

/**
 * Clients open connections ahead, of which the first request may never come. Node takes them for busy when a server closes,
 * and would wait for as long as they like.
 */
function closeSilentConnections(server: FastifyInstance): void {
  const connections = new Set<Socket>();
  server.server.on('connection', (socket) => {
    connections.add(socket);
    socket.once('close', () => connections.delete(socket));
  });
  server.addHook('preClose', async () => {
    setTimeout(() => {
      for (const socket of connections) if (socket.bytesRead === 0) socket.destroy();
    }, silence).unref();
  });
}
