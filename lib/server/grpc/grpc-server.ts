import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket, type Server as SocketServer } from 'node:net';
import { Server, ServerCredentials, type UntypedServiceImplementation } from '@grpc/grpc-js';
import type { ServiceDefinition } from '@grpc/proto-loader';
import type { FastifyBaseLogger } from 'fastify';
import type { AdmissionGate } from '../calls/admission.js';
import type { CallRunner } from '../calls/call.js';
import type { ServerMetrics } from '../calls/metrics.js';
import type { CheckedServerOptions } from '../configuration/options.js';
import type { ModelRegistry } from '../models/registry.js';
import { CallGuard, type CallLimits, type MethodKind } from './call-guard.js';
import type { GrpcEndpoint } from './endpoint.js';
import { Health } from './health.js';
import { Inference } from './inference.js';
import { healthService, inferenceService } from './messages.js';
import { inferenceMethods, unsupported, unsupportedMethods } from './service.js';

export interface GrpcServerParts {
  readonly options: CheckedServerOptions;
  readonly models: ModelRegistry;
  readonly gate: AdmissionGate;
  readonly metrics: ServerMetrics;
  readonly calls: CallRunner;
  readonly hidePlaces: (text: string) => string;
  readonly log: FastifyBaseLogger;
}

const kinds: Readonly<Record<string, MethodKind>> = {
  Check: 'health',
  Watch: 'health',
  ServerLive: 'health',
  ServerReady: 'health',
  ModelInfer: 'computes',
  ModelStreamInfer: 'stream',
};

/** Silent connections are asked whether their client is still there. */
const keepalive = {
  'grpc.keepalive_time_ms': 60_000,
  'grpc.keepalive_timeout_ms': 20_000,
};

/** Milliseconds that connections are given to close when all is answered. */
const patience = 1000;

/**
 * The server's second port, which speaks the Open Inference Protocol over gRPC. Its connections are taken here and
 * handed to grpc-js, which cannot end those whose clients do not do their part.
 */
export class GrpcServer implements GrpcEndpoint {
  readonly #server: Server;
  readonly #listener: SocketServer;
  readonly #sockets = new Set<Socket>();
  readonly #guard: CallGuard;
  readonly #host: string;
  readonly #port: number;
  #address: string | null = null;
  #ended: Promise<void> | undefined;

  constructor({ options, models, gate, metrics, calls, hidePlaces, log }: GrpcServerParts) {
    const { grpcHost, grpcPort = 0, maxBodyBytes, modelControl } = options;
    this.#host = grpcHost;
    this.#port = grpcPort;
    const guard = new CallGuard({
      options,
      gate,
      metrics,
      hidePlaces,
      log,
      kindOf: (method) => kinds[method] ?? 'guarded',
    });
    this.#guard = guard;
    this.#server = new Server({
      'grpc.max_receive_message_length': maxBodyBytes,
      'grpc.max_send_message_length': -1,
      ...keepalive,
      interceptors: [guard.intercept],
    });
    const connections = this.#server.createConnectionInjector(ServerCredentials.createInsecure());
    this.#listener = createServer({ noDelay: true }, (socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
      connections.injectConnection(socket);
    });
    const inference = new Inference(models, calls, guard, options);
    this.#add(inferenceService, {
      ...inferenceMethods({ models, guard, metrics, modelControl }),
      ModelInfer: guard.unary((bytes, incoming) => inference.unary(bytes, incoming)),
      ModelStreamInfer: inference.stream,
    });
    const health = new Health(models, guard);
    this.#add(healthService, { Check: health.check, Watch: health.watch });
    for (const method of unsupportedMethods) {
      const path = `/inference.GRPCInferenceService/${method}`;
      const nothing = () => Buffer.alloc(0);
      this.#server.register(path, unsupported(guard, method), nothing, nothing, 'unary');
    }
  }

  /** Messages are read by the methods themselves, so that what is wrong with one is told as everything else is. */
  #add(service: ServiceDefinition, methods: UntypedServiceImplementation): void {
    const unread = Object.entries(service).map(([name, method]) => [
      name,
      { ...method, requestDeserialize: (bytes: Buffer) => bytes },
    ]);
    this.#server.addService(Object.fromEntries(unread), methods);
  }

  /** What calls are refused by, beside tokens and room: the limits of HTTP's routes. */
  limitBy(limits: CallLimits): void {
    this.#guard.limitBy(limits);
  }

  get address(): string | null {
    return this.#address;
  }

  /** @throws as Node's `listen()` */
  async listen(): Promise<void> {
    const listening = once(this.#listener, 'listening');
    this.#listener.listen(this.#port, this.#host);
    await listening;
    const { address, family, port } = this.#listener.address() as AddressInfo;
    this.#address = family === 'IPv6' ? `[${address}]:${port}` : `${address}:${port}`;
  }

  /** Takes no new calls; resolves when those that were accepted are answered. */
  end(): Promise<void> {
    this.#ended ??= this.#end();
    return this.#ended;
  }

  async #end(): Promise<void> {
    const closed = this.#listener.listening ? once(this.#listener, 'close') : undefined;
    this.#listener.close();
    this.#server.tryShutdown(() => {});
    await this.#guard.end();
    // What stays open behind the last answer, or has never said anything.
    const late = setInterval(() => {
      for (const socket of this.#sockets) if (socket.writableLength === 0) socket.destroy();
    }, patience);
    await closed;
    clearInterval(late);
  }

  destroy(): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}
