import { connect } from 'node:http2';
import {
  type Client,
  type ClientDuplexStream,
  type ClientOptions,
  type ClientReadableStream,
  credentials,
  loadPackageDefinition,
  Metadata,
  type ServiceClientConstructor,
  type ServiceError,
  type StatusObject,
  status,
} from '@grpc/grpc-js';
import { loadSync, type MessageTypeDefinition } from '@grpc/proto-loader';
import { rootPath } from './root.js';

// gRPC's own client of the server's second port.

const definitions = loadSync(
  ['open_inference.proto', 'health.proto'].map((name) => rootPath(`lib/server/grpc/${name}`)),
  { keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true },
);

// What a message holds is checked by the tests that read it.
// biome-ignore lint/suspicious/noExplicitAny: messages of any method
export type Message = any;

export interface CallOptions {
  readonly metadata?: Readonly<Record<string, string>>;
  /** Milliseconds from now. */
  readonly deadline?: number;
  readonly signal?: AbortSignal;
}

/** How a call ended. */
export interface Ended {
  /** `OK`, `NOT_FOUND`, ... */
  readonly status: string;
  readonly details: string;
  /** Our code of a failure. */
  readonly code: string | undefined;
  readonly response: Message;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly trailers: Readonly<Record<string, unknown>>;
}

export interface GrpcClient extends Disposable {
  /** Calls a method with one answer; a failure is a result, too. */
  call(method: string, request?: Message, options?: CallOptions): Promise<Ended>;
  stream(options?: CallOptions): ClientDuplexStream<Message, Message>;
  watch(service: string): ClientReadableStream<Message>;
  readonly channel: Client;
}

/** @param service - the full name of one of the server's services */
export function grpcClient(
  address: string | null | undefined,
  options: ClientOptions = {},
  service = 'inference.GRPCInferenceService',
): GrpcClient {
  const names = service.split('.');
  let found: unknown = loadPackageDefinition(definitions);
  for (const name of names) found = (found as Record<string, unknown>)[name];
  const channel = new (found as ServiceClientConstructor)(address ?? '', credentials.createInsecure(), {
    'grpc.max_receive_message_length': -1,
    'grpc.enable_retries': 0,
    // Not shared with the other clients of the process.
    'grpc.use_local_subchannel_pool': 1,
    ...options,
  });
  const methods = channel as unknown as Record<string, (...args: unknown[]) => Message>;
  const metadataOf = (given: CallOptions['metadata'] = {}) => {
    const metadata = new Metadata();
    for (const [key, value] of Object.entries(given)) metadata.set(key, value);
    return metadata;
  };
  const deadlineOf = ({ deadline }: CallOptions) =>
    deadline === undefined ? {} : { deadline: Date.now() + deadline };
  return {
    channel,
    call: (method, request = {}, given = {}) =>
      new Promise((resolve) => {
        let headers: Record<string, unknown> = {};
        let failure: ServiceError | null = null;
        let response: Message = null;
        const call = methods[method]?.(
          request,
          metadataOf(given.metadata),
          deadlineOf(given),
          (error: ServiceError | null, value: Message) => {
            failure = error;
            response = value;
          },
        );
        call.on('metadata', (metadata: Metadata) => {
          headers = metadata.getMap();
        });
        call.on('status', ({ code, details, metadata }: StatusObject) => {
          const trailers = metadata.getMap();
          const told = trailers['gradcam-code'];
          // The answer is handed over in the same turn.
          setImmediate(() =>
            resolve({
              status: status[code] ?? String(code),
              details: failure?.details ?? details,
              code: told === undefined ? undefined : String(told),
              response,
              headers,
              trailers,
            }),
          );
        });
        given.signal?.addEventListener('abort', () => call.cancel());
      }),
    stream: (given = {}) => methods.ModelStreamInfer?.(metadataOf(given.metadata), deadlineOf(given)),
    watch: (name) => methods.Watch?.({ service: name }),
    [Symbol.dispose]: () => channel.close(),
  };
}

/** All answers of a stream, and how it ended. */
export function answersOf(stream: ClientReadableStream<Message>): {
  readonly answers: Message[];
  readonly ended: Promise<string>;
} {
  const answers: Message[] = [];
  const ended = new Promise<string>((resolve) => {
    stream.on('data', (answer) => answers.push(answer));
    stream.on('error', () => {});
    stream.on('status', ({ code }: StatusObject) => resolve(status[code] ?? String(code)));
  });
  return { answers, ended };
}

/** A parameter, as the protocol writes it. */
export function parameter(value: string | number | boolean): Message {
  if (typeof value === 'string') return { string_param: value };
  if (typeof value === 'boolean') return { bool_param: value };
  return { int64_param: value };
}

export function parameters(given: Readonly<Record<string, string | number | boolean>>): Message {
  return Object.fromEntries(Object.entries(given).map(([name, value]) => [name, parameter(value)]));
}

/** The bytes of a typed array. */
export function raw(values: ArrayBufferView): Buffer {
  return Buffer.from(values.buffer, values.byteOffset, values.byteLength);
}

/** Elements of BYTES, as they are sent raw. */
export function rawElements(...elements: readonly Uint8Array[]): Buffer {
  return Buffer.concat(
    elements.flatMap((element) => {
      const length = Buffer.alloc(4);
      length.writeUInt32LE(element.length);
      return [length, element];
    }),
  );
}

/** The bytes of a ModelInferRequest. */
export function inferBytes(request: Message): Buffer {
  const { serialize } = definitions['inference.ModelInferRequest'] as MessageTypeDefinition<Message, Message>;
  return serialize(request);
}

export interface HeldCall {
  /** The headers and trailers of the answer. */
  readonly ended: Promise<Record<string, unknown>>;
  /** Sends the rest of the message. */
  finish(): void;
  /** Closes its connection. */
  close(): void;
}

/** A call on a connection of its own, of which the server gets the second half of the message when the test wants. */
export function holdCall(address: string, method: string, message: Buffer): HeldCall {
  const session = connect(`http://${address}`);
  session.on('error', () => {});
  const stream = session.request({
    ':method': 'POST',
    ':path': `/inference.GRPCInferenceService/${method}`,
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  stream.on('error', () => {});
  const ended = new Promise<Record<string, unknown>>((resolve) => {
    let told: Record<string, unknown> = {};
    stream.on('response', (headers) => {
      told = { ...headers };
    });
    stream.on('trailers', (trailers) => {
      told = { ...told, ...trailers };
    });
    for (const end of ['end', 'close']) stream.once(end, () => setImmediate(() => resolve(told)));
  });
  const framed = Buffer.concat([Buffer.alloc(5), message]);
  framed.writeUInt32BE(message.length, 1);
  stream.write(framed.subarray(0, framed.length >> 1));
  stream.resume();
  return {
    ended,
    finish: () => stream.end(framed.subarray(framed.length >> 1)),
    close: () => session.destroy(),
  };
}
