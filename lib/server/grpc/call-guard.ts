import { createHash, timingSafeEqual } from 'node:crypto';
import { type handleUnaryCall, Metadata, type ServerInterceptor, type StatusObject } from '@grpc/grpc-js';
import type { FastifyBaseLogger } from 'fastify';
import PQueue from 'p-queue';
import { GradCamError } from '../../errors/errors.js';
import type { AdmissionGate, Ticket } from '../calls/admission.js';
import type { ServerMetrics } from '../calls/metrics.js';
import type { CheckedServerOptions } from '../configuration/options.js';
import { describeFailure } from '../http/errors.js';
import { IncomingCall } from './incoming-call.js';
import { PacedCall } from './paced-call.js';
import { statusOf } from './statuses.js';

/** What a method is let in by. */
export type MethodKind =
  /** Health: by all, always. */
  | 'health'
  /** With a token where there are tokens, while the server is not under pressure. */
  | 'guarded'
  /** And with room in the queue. */
  | 'computes'
  /** Each message needs room of its own. */
  | 'stream';

export interface GuardParts {
  readonly hidePlaces: (text: string) => string;
  readonly options: CheckedServerOptions;
  readonly gate: AdmissionGate;
  readonly metrics: ServerMetrics;
  readonly log: FastifyBaseLogger;
  kindOf(method: string): MethodKind;
}

export interface CallLimits {
  isUnderPressure(): boolean;
  /** @throws where the address asked too often */
  countRequest(address: string): Promise<void>;
}

/** Messages of calls that compute nothing, at once, and how long each may take to arrive. */
const smallMessages = { atOnce: 8, milliseconds: 10_000 };

/**
 * Lets calls in, as the hooks of HTTP do: before a message is read, who asks is checked, and whether there is room. A
 * message has `maxBodyBytes` at most, but how much it will be is not told ahead. So only as many are received at once as
 * have room in `maxPendingBytes`; the others wait, unread, in the network. Then each call is told in the log and counted.
 */
export class CallGuard {
  readonly #parts: GuardParts;
  readonly #tokens: readonly Buffer[];
  readonly #calls = new WeakMap<Metadata, IncomingCall>();
  readonly #receiving: PQueue;
  readonly #receivingSmall = new PQueue({ concurrency: smallMessages.atOnce });
  readonly #mostStreams: number;
  readonly #streams = new Set<PacedCall>();
  readonly #active = new Set<IncomingCall>();
  #whenIdle: (() => void) | undefined;
  #limits: CallLimits | undefined;

  constructor(parts: GuardParts) {
    this.#parts = parts;
    const { tokens, maxPendingBytes, maxBodyBytes } = parts.options;
    this.#tokens = tokens.map(digest);
    this.#mostStreams = Math.max(1, Math.floor(maxPendingBytes / maxBodyBytes));
    this.#receiving = new PQueue({ concurrency: this.#mostStreams });
  }

  limitBy(limits: CallLimits): void {
    this.#limits = limits;
  }

  readonly intercept: ServerInterceptor = ({ path }, call) => {
    let incoming: IncomingCall | undefined;
    const guarded: PacedCall = new PacedCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata: (metadata, pass) => {
            incoming = new IncomingCall(path, guarded, metadata, this.#parts.log);
            this.#calls.set(metadata, incoming);
            this.#active.add(incoming);
            this.#letIn(incoming, metadata).then(
              () => pass(metadata),
              (error) => guarded.sendStatus(this.failure(incoming as IncomingCall, error)),
            );
          },
          onCancel: () => {
            if (incoming) this.#end(incoming);
          },
        }),
      sendMetadata: (metadata, pass) => {
        if (incoming) metadata.set('x-request-id', incoming.id);
        pass(metadata);
      },
      sendStatus: (told, pass) => {
        const metadata = told.metadata ?? new Metadata();
        if (incoming) {
          incoming.answer(told.code);
          metadata.set('x-request-id', incoming.id);
        }
        pass({ ...told, metadata });
      },
    });
    return guarded;
  };

  /** The call that metadata came with. */
  of(metadata: Metadata): IncomingCall {
    const incoming = this.#calls.get(metadata);
    if (!incoming) throw new GradCamError('ERR_INTERNAL', 'A call of gRPC came by the guard.');
    return incoming;
  }

  /** Handles a call with one message and one answer. */
  unary<Answer>(
    answer: (bytes: Buffer, incoming: IncomingCall) => Promise<Answer> | Answer,
  ): handleUnaryCall<Buffer, Answer> {
    return (call, callback) => {
      const incoming = this.of(call.metadata);
      incoming.received();
      const answering = (async () => await answer(call.request, incoming))();
      answering.then(
        (value) => callback(null, value),
        (error) => callback(this.failure(incoming, error)),
      );
    };
  }

  /** What a client is told of a failure; the log is told more. */
  failure(incoming: IncomingCall, error: unknown): StatusObject {
    const failure = describeFailure(error, incoming.id, this.#parts.hidePlaces);
    const { status, body } = failure;
    if (status >= 500 && status !== 503 && status !== 504) incoming.log.error({ err: error }, body.error);
    else incoming.log.info({ status, code: body.code }, body.error);
    return statusOf(failure, () => this.#parts.gate.retryAfter);
  }

  /**
   * Room in the queue for a call or a message, held until the call ends at the latest.
   * @throws {GradCamError} `ERR_BUSY`
   */
  enter(incoming: IncomingCall, bytes: number): Ticket {
    try {
      const ticket = this.#parts.gate.enter(bytes);
      const leave = incoming.hold(() => ticket.leave());
      return { ...ticket, leave };
    } catch (error) {
      // Which model it is for stands in a message that is not read.
      this.#parts.metrics.failed({ model: '', version: '' }, 'REJECTED', incoming.elapsed);
      throw error;
    }
  }

  /** Takes no more messages from streams; resolves when all that came is answered. */
  async end(): Promise<void> {
    for (const messages of this.#streams) messages.cutOff();
    if (this.#active.size === 0) return;
    await new Promise<void>((resolve) => {
      this.#whenIdle = resolve;
    });
  }

  async #letIn(incoming: IncomingCall, metadata: Metadata): Promise<void> {
    const { options, kindOf } = this.#parts;
    const kind = kindOf(incoming.method);
    const { messages } = incoming;
    if (kind !== 'health') {
      this.#checkToken(metadata);
      await this.#limits?.countRequest(messages.getConnectionInfo().remoteAddress ?? '');
      if (this.#limits?.isUnderPressure())
        throw new GradCamError('ERR_BUSY', 'The server is under pressure. Try again later.');
    }
    if (kind === 'stream') {
      if (this.#streams.size >= this.#mostStreams)
        throw new GradCamError(
          'ERR_BUSY',
          `The server is busy: ${this.#streams.size} streams are open already. Try again later.`,
        );
      messages.pace();
      this.#streams.add(messages);
      incoming.hold(() => this.#streams.delete(messages));
      return;
    }
    const small = kind !== 'computes';
    if (!small) incoming.ticket = this.enter(incoming, 0);
    const limit = small ? Math.min(smallMessages.milliseconds, options.deadlineMs) : options.deadlineMs;
    const late = setTimeout(() => {
      const error = new GradCamError('ERR_DEADLINE_EXCEEDED', 'The request did not arrive in time.');
      messages.sendStatus(this.failure(incoming, error));
    }, limit);
    incoming.untilReceived(() => clearTimeout(late));
    await this.#turn(incoming, small ? this.#receivingSmall : this.#receiving);
  }

  /** Waits until a message may be received, and lets the next one when it is. */
  #turn(incoming: IncomingCall, queue: PQueue): Promise<void> {
    return new Promise((resolve) => {
      void queue.add(
        () =>
          new Promise<void>((release) => {
            incoming.untilReceived(release);
            resolve();
          }),
      );
    });
  }

  #checkToken(metadata: Metadata): void {
    if (this.#tokens.length === 0) return;
    const [, token] = /^Bearer (.+)$/i.exec(String(metadata.get('authorization')[0] ?? '')) ?? [];
    const given = digest(token ?? '');
    // All of them, so that the time tells nothing.
    const known = this.#tokens.filter((each) => timingSafeEqual(each, given)).length > 0;
    if (token !== undefined && known) return;
    const message = 'The metadata authorization holds no token that is known: Bearer TOKEN.';
    throw Object.assign(new GradCamError('ERR_INVALID_REQUEST', message), { statusCode: 401 });
  }

  #end(incoming: IncomingCall): void {
    const { service, method, elapsed } = incoming;
    const code = incoming.end();
    this.#active.delete(incoming);
    if (this.#active.size === 0) this.#whenIdle?.();
    const kind = this.#parts.kindOf(method);
    this.#parts.metrics.handled({
      grpc_type: kind === 'stream' ? 'bidi_stream' : method === 'Watch' ? 'server_stream' : 'unary',
      grpc_service: service,
      grpc_method: method,
      grpc_code: code,
    });
    if (kind === 'health') return;
    incoming.log.info(
      { method: 'gRPC', url: `/${service}/${method}`, grpc_status: code, ms: Math.round(elapsed) },
      'answered',
    );
  }
}

function digest(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
