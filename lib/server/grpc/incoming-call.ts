import { randomUUID } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { type Metadata, status } from '@grpc/grpc-js';
import type { FastifyBaseLogger } from 'fastify';
import type { Ticket } from '../calls/admission.js';
import type { Asker } from '../calls/call.js';
import { requestIdOf } from '../http/request-id.js';
import type { PacedCall } from './paced-call.js';
import { statusName } from './statuses.js';

/** One call of a client, from its headers to its status, and what it holds meanwhile. */
export class IncomingCall implements Asker {
  readonly service: string;
  readonly method: string;
  readonly id: string;
  readonly log: FastifyBaseLogger;
  /** Milliseconds from its arrival to the deadline that its client set; Infinity where it set none. */
  readonly budget: number;
  /** The messages of a stream. */
  readonly messages: PacedCall;
  /** Its room in the queue, if it has one message that computes. */
  ticket: Ticket | undefined;
  readonly #started = performance.now();
  readonly #gone = new AbortController();
  readonly #releases = new Set<() => void>();
  readonly #untilReceived: (() => void)[] = [];
  #status: status | undefined;

  /** @param path - `/package.Service/Method` */
  constructor(path: string, messages: PacedCall, metadata: Metadata, log: FastifyBaseLogger) {
    setMaxListeners(0, this.#gone.signal); // each message of a stream listens
    const [, service = '', method = ''] = path.split('/');
    this.service = service;
    this.method = method;
    this.id = requestIdOf(metadata.get('x-request-id')[0]) ?? randomUUID();
    this.log = log.child({ request_id: this.id });
    this.budget = Number(messages.getDeadline()) - Date.now();
    this.messages = messages;
  }

  get elapsed(): number {
    return performance.now() - this.#started;
  }

  /** Aborted at the end, whoever brought it about. */
  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  /** Calls `release` when the call ends, if the returned function does not before. */
  hold(release: () => void): () => void {
    const once = () => {
      if (this.#releases.delete(once)) release();
    };
    this.#releases.add(once);
    if (this.#gone.signal.aborted) once();
    return once;
  }

  /** Calls `release` when the message has arrived, or will not arrive any more. */
  untilReceived(release: () => void): void {
    this.#untilReceived.push(this.hold(release));
  }

  received(): void {
    for (const release of this.#untilReceived) release();
  }

  /** The status that it is answered with. */
  answer(code: status): void {
    this.#status ??= code;
  }

  /** @returns the status that it ended with */
  end(): string {
    this.#gone.abort();
    for (const release of [...this.#releases]) release();
    const late = this.elapsed >= this.budget ? status.DEADLINE_EXCEEDED : status.CANCELLED;
    return statusName(this.#status ?? late);
  }
}
