import { GradCamError } from '../../errors/errors.js';
import { invalidRequest } from '../http/errors.js';
import type { TensorCarrier } from '../protocols/open-inference/infer.js';
import { type InferBody, inferBody } from '../protocols/open-inference/schemas.js';
import {
  countOf,
  type InferInput,
  type NamedTensor,
  type ReadInput,
  rawBytes,
  readBytes,
  readJson,
} from '../protocols/open-inference/tensors.js';
import { packNumbers } from '../workers/packed-numbers.js';
import type {
  InferRequestMessage,
  InferResponseMessage,
  ParameterMessage,
  ParameterMessages,
  TensorContents,
} from './messages.js';

// Between the messages of gRPC and what an inference is over HTTP.

/** The field of typed contents that an element type has; FP16 and BF16 have none. */
const contentsField: Readonly<Record<string, string>> = {
  BOOL: 'bool_contents',
  INT8: 'int_contents',
  INT16: 'int_contents',
  INT32: 'int_contents',
  INT64: 'int64_contents',
  UINT8: 'uint_contents',
  FP32: 'fp32_contents',
  FP64: 'fp64_contents',
  BYTES: 'bytes_contents',
};

/**
 * The request as it would be in JSON, without the elements of its tensors.
 * @throws {GradCamError} `ERR_INVALID_REQUEST`
 */
export function readBody({ id, parameters, inputs, outputs }: InferRequestMessage): InferBody {
  const parsed = inferBody.safeParse({
    ...(id === '' ? {} : { id }),
    parameters: readParameters(parameters),
    inputs: inputs.map(({ name, datatype, shape, parameters }) => ({
      name,
      datatype,
      shape,
      parameters: readParameters(parameters),
    })),
    ...(outputs.length === 0
      ? {}
      : {
          outputs: outputs.map(({ name, parameters }) => ({ name, parameters: readParameters(parameters) })),
        }),
  });
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(
    ({ path, message }) => `${path.join('.') || 'message'}: ${message}`,
  );
  throw invalidRequest(`The request is not valid: ${problems.join('; ')}.`);
}

function readParameters(messages: ParameterMessages): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(messages).map(([name, message]) => {
      const { parameter_choice: choice } = message;
      if (choice === undefined) throw invalidRequest(`The parameter ${name.slice(0, 200)} has no value.`);
      return [name, message[choice]];
    }),
  );
}

export function writeParameters(
  parameters: Readonly<Record<string, string | number | boolean>>,
): ParameterMessages {
  const write = (value: string | number | boolean): ParameterMessage => {
    if (typeof value === 'string') return { string_param: value };
    if (typeof value === 'boolean') return { bool_param: value };
    return Number.isSafeInteger(value) ? { int64_param: value } : { double_param: value };
  };
  return Object.fromEntries(Object.entries(parameters).map(([name, value]) => [name, write(value)]));
}

/** Tensors raw, or in the field of their type. The answer is raw where it is asked to be (`binary_data`), else as the request. */
export function messageCarrier(
  { inputs, raw_input_contents: raw }: InferRequestMessage,
  body: InferBody,
): TensorCarrier<InferResponseMessage> {
  const own = [
    body.parameters?.binary_data_output,
    ...(body.outputs ?? []).map(({ parameters }) => parameters?.binary_data),
  ].filter((each) => each !== undefined);
  const answersRaw = own.length > 0 ? own.includes(true) : raw.length > 0;
  return {
    read: () => {
      if (raw.length > 0 && raw.length !== inputs.length)
        throw invalidRequest(`There are ${inputs.length} inputs, but ${raw.length} raw contents.`);
      return inputs.map((input, index) => {
        if (input.parameters.shared_memory_region !== undefined)
          throw new GradCamError(
            'ERR_UNSUPPORTED',
            `The input ${input.name} is in shared memory, which is not read.`,
          );
        const bytes = raw[index];
        if (bytes === undefined) return readContents(input, input.contents);
        if (input.contents !== null)
          throw invalidRequest(`The input ${input.name} has both contents and raw contents.`);
        return readBytes(input, bytes);
      });
    },
    // Typed contents are numbers of JavaScript before they are bytes.
    formOf: () => (answersRaw ? 'binary' : 'array'),
    write: ({ head, outputs }) => {
      const { parameters = {}, ...rest } = head;
      const heads = outputs.map(({ tensor: { name, shape, datatype } }) => ({ name, shape, datatype }));
      const answer = { ...rest, parameters: writeParameters(parameters) };
      // Half precision has no typed field.
      if (answersRaw || outputs.some(({ tensor }) => contentsField[tensor.datatype] === undefined))
        return {
          ...answer,
          outputs: heads,
          raw_output_contents: outputs.map(({ tensor }) => rawBytes(tensor)),
        };
      return {
        ...answer,
        outputs: heads.map((output, index) => ({
          ...output,
          contents: writeContents((outputs[index] as (typeof outputs)[number]).tensor),
        })),
      };
    },
  };
}

function readContents(input: InferInput, contents: TensorContents | null): ReadInput {
  const { name, shape, datatype } = input;
  const field = contentsField[datatype];
  const filled = Object.entries(contents ?? {}).filter(([, values]) => values.length > 0);
  if (filled.length === 0) throw invalidRequest(`The input ${name} has neither contents nor raw contents.`);
  const foreign = filled.find(([key]) => key !== field);
  if (foreign)
    throw invalidRequest(
      `The input ${name} is ${datatype}, ${field === undefined ? 'which is sent raw only' : `whose contents are in ${field}`}, but has ${foreign[0]}.`,
    );
  const values = filled[0]?.[1] ?? [];
  if (datatype !== 'BYTES')
    return readJson(
      input,
      packNumbers(values, `The input ${name}`, datatype === 'FP32' ? Float32Array : Float64Array),
    );
  const count = countOf(input);
  if (values.length !== count)
    throw invalidRequest(`The input ${name} holds ${values.length} elements, but its shape says ${count}.`);
  return { name, shape, elements: values as Buffer[] };
}

function writeContents({ datatype, values }: NamedTensor): TensorContents {
  const write = (value: number | bigint): unknown => {
    if (typeof value === 'bigint') return String(value);
    return datatype === 'BOOL' ? value !== 0 : value;
  };
  return { [contentsField[datatype] as string]: Array.from<number | bigint, unknown>(values, write) };
}
