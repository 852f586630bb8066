import type { handleBidiStreamingCall, ServerDuplexStream } from '@grpc/grpc-js';
import { pMapIterable } from 'p-map';
import { GradCamError } from '../../errors/errors.js';
import type { Ticket } from '../calls/admission.js';
import type { CallRunner } from '../calls/call.js';
import { type CheckedServerOptions, modelName } from '../configuration/options.js';
import { invalidRequest } from '../http/errors.js';
import type { ModelRegistry } from '../models/registry.js';
import type { ServedModel } from '../models/served-model.js';
import { infer, ownDeadline } from '../protocols/open-inference/infer.js';
import type { CallGuard } from './call-guard.js';
import type { IncomingCall } from './incoming-call.js';
import { type InferRequestMessage, type InferResponseMessage, readMessage } from './messages.js';
import { messageCarrier, readBody, writeParameters } from './tensor-carrier.js';
import { checkInferRequest, type MessageLimits } from './wire-limits.js';

/** Messages of one stream that are computed at the same time; each is answered in its turn. */
const atOnce = 16;

interface StreamAnswer {
  readonly error_message?: string;
  readonly infer_response: InferResponseMessage;
}

/**
 * The model of a name.
 * @param version - empty for the one that serves
 * @throws {GradCamError} `ERR_INVALID_REQUEST`, `ERR_UNKNOWN_MODEL`, `ERR_MODEL_NOT_READY`
 */
export function findModel(models: ModelRegistry, name: string, version: string): ServedModel {
  checkName(name);
  if (version.length > 20) throw invalidRequest('A version has 20 characters at most.');
  return models.get(name, version === '' ? undefined : version);
}

/** @throws {GradCamError} `ERR_INVALID_REQUEST` */
export function checkName(name: string): void {
  const { error } = modelName.safeParse(name);
  if (error) throw invalidRequest(`The name of the model: ${error.issues[0]?.message}.`);
}

/** ModelInfer and ModelStreamInfer. */
export class Inference {
  readonly #models: ModelRegistry;
  readonly #calls: CallRunner;
  readonly #guard: CallGuard;
  readonly #limits: MessageLimits;

  constructor(models: ModelRegistry, calls: CallRunner, guard: CallGuard, options: CheckedServerOptions) {
    this.#models = models;
    this.#calls = calls;
    this.#guard = guard;
    this.#limits = {
      tensors: 32,
      parameters: 256,
      dimensions: 8,
      elements: options.maxPending,
      integers: 2 ** 22,
    };
  }

  async unary(bytes: Buffer, incoming: IncomingCall): Promise<InferResponseMessage> {
    const { ticket } = incoming;
    if (!ticket) throw new GradCamError('ERR_INTERNAL', 'An inference of gRPC runs without being admitted.');
    ticket.setBytes(bytes.length);
    return await this.#infer(this.#read(bytes), incoming, incoming.elapsed, ticket);
  }

  readonly stream: handleBidiStreamingCall<Buffer, StreamAnswer> = (call) => {
    const incoming = this.#guard.of(call.metadata);
    this.#answerAll(call, incoming).then(
      () => call.end(),
      (error) => {
        if (!incoming.gone.aborted) call.emit('error', this.#guard.failure(incoming, error));
      },
    );
  };

  async #answerAll(call: ServerDuplexStream<Buffer, StreamAnswer>, incoming: IncomingCall): Promise<void> {
    // The iterator of a stream ends its writing, too, if it is not told otherwise.
    const messages = call.iterator({ destroyOnReturn: false }) as AsyncIterableIterator<Buffer>;
    const answers = pMapIterable(messages, (bytes) => this.#answer(bytes, incoming), { concurrency: atOnce });
    for await (const { answer, leave } of answers) {
      await write(call, answer, incoming.gone);
      leave();
    }
    if (incoming.messages.isCutOff) throw new GradCamError('ERR_MODEL_NOT_READY', 'The server is closing.');
  }

  /** Answers one message of a stream, with its failure if it fails. */
  async #answer(bytes: Buffer, incoming: IncomingCall): Promise<{ answer: StreamAnswer; leave: () => void }> {
    const started = incoming.elapsed;
    let ticket: Ticket | undefined;
    let id: string | undefined;
    try {
      try {
        ticket = this.#guard.enter(incoming, bytes.length);
      } finally {
        incoming.messages.next();
      }
      const message = this.#read(bytes);
      id = message.id;
      const response = await this.#infer(message, incoming, started, ticket);
      const parameters = { ...response.parameters, ...writeParameters({ triton_final_response: true }) };
      return { answer: { infer_response: { ...response, parameters } }, leave: ticket.leave };
    } catch (error) {
      const { details, metadata } = this.#guard.failure(incoming, error);
      const code = String(metadata.get('gradcam-code')[0]);
      const parameters = writeParameters({ 'gradcam-code': code, triton_final_response: true });
      return {
        answer: { error_message: details, infer_response: { id: id?.slice(0, 200), parameters } },
        leave: ticket?.leave ?? (() => {}),
      };
    }
  }

  #read(bytes: Buffer): InferRequestMessage {
    checkInferRequest(bytes, this.#limits);
    return readMessage<InferRequestMessage>('inference.ModelInferRequest', bytes);
  }

  /** @param started - when the message came, in milliseconds of the call */
  async #infer(
    message: InferRequestMessage,
    incoming: IncomingCall,
    started: number,
    ticket: Ticket,
  ): Promise<InferResponseMessage> {
    const model = findModel(this.#models, message.model_name, message.model_version);
    const body = readBody(message);
    const deadline = Math.min(ownDeadline(body) ?? Number.POSITIVE_INFINITY, incoming.budget - started);
    const asker = {
      gone: incoming.gone,
      get elapsed() {
        return incoming.elapsed - started;
      },
    };
    return await this.#calls.runAdmitted(
      { model, ticket, leaveModel: model.use() },
      asker,
      Number.isFinite(deadline) ? Math.ceil(deadline) : undefined,
      (call) => infer(call, body, messageCarrier(message, body)),
    );
  }
}

/** Resolves when the answer was handed over; rejects when the client goes before. */
function write<T>(call: ServerDuplexStream<unknown, T>, answer: T, gone: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const leave = () => reject(new GradCamError('ERR_CLIENT_GONE', 'The client closed the connection.'));
    if (gone.aborted) leave();
    gone.addEventListener('abort', leave, { once: true });
    call.write(answer, () => {
      gone.removeEventListener('abort', leave);
      resolve();
    });
  });
}
