import type { handleServerStreamingCall, handleUnaryCall } from '@grpc/grpc-js';
import { GradCamError } from '../../errors/errors.js';
import { isLive, isReady } from '../http/health.js';
import type { ModelRegistry } from '../models/registry.js';
import type { CallGuard } from './call-guard.js';
import { readMessage } from './messages.js';

interface HealthAnswer {
  readonly status: 'SERVING' | 'NOT_SERVING' | 'SERVICE_UNKNOWN';
}

/** Milliseconds between two looks at what is watched. */
const interval = 500;
const mostWatchers = 256;

/** The methods of gRPC's health checks. */
export class Health {
  readonly #models: ModelRegistry;
  readonly #guard: CallGuard;
  #watchers = 0;

  constructor(models: ModelRegistry, guard: CallGuard) {
    this.#models = models;
    this.#guard = guard;
  }

  #statusOf(service: string): HealthAnswer['status'] {
    const told = (good: boolean) => (good ? 'SERVING' : 'NOT_SERVING');
    if (service === 'liveness') return told(isLive());
    if (['', 'readiness', 'inference.GRPCInferenceService', 'grpc.health.v1.Health'].includes(service))
      return told(isReady(this.#models));
    return 'SERVICE_UNKNOWN';
  }

  get check(): handleUnaryCall<Buffer, HealthAnswer> {
    return this.#guard.unary((bytes) => {
      const status = this.#statusOf(serviceOf(bytes));
      if (status !== 'SERVICE_UNKNOWN') return { status };
      const message =
        'There is no such service. There is: liveness, readiness, inference.GRPCInferenceService.';
      throw Object.assign(new GradCamError('ERR_INVALID_REQUEST', message), { statusCode: 404 });
    });
  }

  readonly watch: handleServerStreamingCall<Buffer, HealthAnswer> = (call) => {
    const incoming = this.#guard.of(call.metadata);
    incoming.received();
    const fail = (error: unknown) => call.emit('error', this.#guard.failure(incoming, error));
    let service: string;
    try {
      service = serviceOf(call.request);
      if (this.#watchers >= mostWatchers)
        throw new GradCamError('ERR_BUSY', `${mostWatchers} clients watch already. Try again later.`);
    } catch (error) {
      fail(error);
      return;
    }
    let last: HealthAnswer['status'] | undefined;
    const tell = () => {
      const status = this.#statusOf(service);
      if (status !== last) call.write({ status });
      last = status;
      if (this.#models.closing) fail(new GradCamError('ERR_MODEL_NOT_READY', 'The server is closing.'));
    };
    const timer = setInterval(tell, interval).unref();
    this.#watchers++;
    incoming.hold(() => {
      clearInterval(timer);
      this.#watchers--;
    });
    tell();
  };
}

function serviceOf(bytes: Buffer): string {
  return readMessage<{ service: string }>('grpc.health.v1.HealthCheckRequest', bytes).service;
}
