import { join } from 'node:path';
import { loadSync, type MessageTypeDefinition, type ServiceDefinition } from '@grpc/proto-loader';
import { packageRoot } from '../../addon/addon.js';
import { invalidRequest } from '../http/errors.js';

// The messages of open_inference.proto and health.proto, as far as they are read or written here.

export interface ParameterMessage {
  /** Which of the others is set. */
  readonly parameter_choice?: string;
  readonly [choice: string]: unknown;
}
export type ParameterMessages = Readonly<Record<string, ParameterMessage>>;

/** Integers of 64 bits are read as numbers, and written as numbers or texts. */
export type TensorContents = Readonly<Record<string, readonly unknown[]>>;

export interface InferRequestMessage {
  readonly model_name: string;
  readonly model_version: string;
  readonly id: string;
  readonly parameters: ParameterMessages;
  readonly inputs: readonly {
    readonly name: string;
    readonly datatype: string;
    readonly shape: readonly number[];
    readonly parameters: ParameterMessages;
    readonly contents: TensorContents | null;
  }[];
  readonly outputs: readonly { readonly name: string; readonly parameters: ParameterMessages }[];
  readonly raw_input_contents: readonly Buffer[];
}

export interface InferResponseMessage {
  readonly model_name?: string;
  readonly model_version?: string;
  readonly id?: string | undefined;
  readonly parameters?: ParameterMessages;
  readonly outputs?: readonly {
    readonly name: string;
    readonly datatype: string;
    readonly shape: readonly number[];
    readonly contents?: TensorContents;
  }[];
  readonly raw_output_contents?: readonly Uint8Array[];
}

/** Of a model, or with an empty name of all; an empty version is the one that serves. */
export interface ModelMessage {
  readonly name: string;
  readonly version: string;
}

export interface RepositoryMessage {
  readonly repository_name: string;
  readonly model_name: string;
  readonly parameters: ParameterMessages;
}

const definitions = loadSync(['open_inference.proto', 'health.proto'], {
  includeDirs: [join(packageRoot, 'lib', 'server', 'grpc')],
  keepCase: true,
  longs: Number,
  enums: String,
  defaults: true,
  oneofs: true,
});

export const inferenceService = definitions['inference.GRPCInferenceService'] as ServiceDefinition;
export const healthService = definitions['grpc.health.v1.Health'] as ServiceDefinition;

type RequestName =
  | 'inference.ModelInferRequest'
  | 'inference.ModelReadyRequest'
  | 'inference.RepositoryIndexRequest'
  | 'inference.RepositoryModelLoadRequest'
  | 'grpc.health.v1.HealthCheckRequest';

/**
 * Reads a message.
 * @throws {GradCamError} `ERR_INVALID_REQUEST` for bytes that are none
 */
export function readMessage<T>(name: RequestName, bytes: Buffer): T {
  const { deserialize } = definitions[name] as MessageTypeDefinition<object, object>;
  try {
    return deserialize(bytes) as T;
  } catch (cause) {
    throw invalidRequest(`The message is no ${name}: ${(cause as Error).message}.`, cause);
  }
}
