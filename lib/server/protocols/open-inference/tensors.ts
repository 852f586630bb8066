import { GradCamError } from '../../../errors/errors.js';
import { elementCount } from '../../../tensor/element-count.js';
import type { DType, Tensor, TensorData } from '../../../tensor/tensor.js';
import { bytesOf } from '../../../tensor/typed-array-bytes.js';
import { invalidRequest } from '../../http/errors.js';
import { AnswerNumbers } from '../../workers/answer-json.js';
import { isPackedNumbers, type PackedNumbers } from '../../workers/packed-numbers.js';
import { narrow, widen } from './half-types.js';

// Tensors as the Open Inference Protocol writes them: in JSON, or as bytes behind the JSON (Triton's binary extension).

/** The protocol's names of the element types that can be used here. */
const kinds = {
  FP32: Float32Array,
  FP64: Float64Array,
  UINT8: Uint8Array,
  INT8: Int8Array,
  INT16: Int16Array,
  INT32: Int32Array,
  INT64: BigInt64Array,
  BOOL: Uint8Array,
} as const;
type NumericDatatype = keyof typeof kinds;
/** In our hands float32. */
const halfTypes = ['FP16', 'BF16'] as const;
type HalfType = (typeof halfTypes)[number];

/** All that an input may be. */
export const inputDatatypes: readonly string[] = [...Object.keys(kinds), ...halfTypes, 'BYTES'];

export interface InferInput {
  readonly name: string;
  readonly shape: readonly number[];
  readonly datatype: string;
  readonly parameters?:
    | { readonly binary_data_size?: unknown; readonly shared_memory_region?: unknown }
    | undefined;
  readonly data?: unknown;
}

/** An input that was read: numbers, or (BYTES) one buffer for each element. */
export type ReadInput =
  | { readonly name: string; readonly shape: readonly number[]; readonly values: TensorData }
  | { readonly name: string; readonly shape: readonly number[]; readonly elements: readonly Buffer[] };

/** An output before it is written. */
export interface NamedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly datatype: NumericDatatype | HalfType;
  readonly values: TensorData;
}

/**
 * Reads the inputs; what stands behind the JSON is taken from `binary` in order, and all of it has to be used.
 * @throws {GradCamError} `ERR_INVALID_REQUEST`, `ERR_UNSUPPORTED`
 */
export function readInputs(inputs: readonly InferInput[], binary: Buffer | null): ReadInput[] {
  let position = 0;
  const read = inputs.map((input) => {
    const { name, parameters, data } = input;
    if (parameters?.shared_memory_region !== undefined)
      throw new GradCamError('ERR_UNSUPPORTED', `The input ${name} is in shared memory, which is not read.`);
    const announced = parameters?.binary_data_size;
    if (announced === undefined) {
      if (!Array.isArray(data) && !isPackedNumbers(data))
        throw invalidRequest(`The input ${name} has neither data nor binary_data_size.`);
      return readJson(input, data);
    }
    if (data !== undefined) throw invalidRequest(`The input ${name} has both data and binary_data_size.`);
    const length = announced as number;
    if (!Number.isInteger(length) || length < 0 || position + length > (binary?.length ?? 0)) {
      throw invalidRequest(
        `The input ${name} announces ${String(announced)} bytes, but ${(binary?.length ?? 0) - position} are left behind the JSON.`,
      );
    }
    const bytes = (binary as Buffer).subarray(position, position + length);
    position += length;
    return readBytes(input, bytes);
  });
  if (position !== (binary?.length ?? 0))
    throw invalidRequest(`${(binary?.length ?? 0) - position} bytes behind the JSON belong to no input.`);
  return read;
}

/** @throws {GradCamError} `ERR_INVALID_REQUEST` */
export function countOf({ name, shape }: InferInput): number {
  const count = elementCount(shape);
  if (!Number.isSafeInteger(count) || count < 1)
    throw invalidRequest(`The shape of the input ${name} is empty or too large.`);
  return count;
}

function kindOf({ name, datatype }: InferInput): (typeof kinds)[NumericDatatype] {
  if (Object.hasOwn(kinds, datatype)) return kinds[datatype as NumericDatatype];
  if (isHalf(datatype)) return Float32Array;
  throw invalidRequest(
    `The input ${name} is ${datatype}, which is not supported. There is: ${inputDatatypes.join(', ')}.`,
  );
}

function isHalf(datatype: string): datatype is HalfType {
  return (halfTypes as readonly string[]).includes(datatype);
}

/** @throws {GradCamError} `ERR_INVALID_REQUEST` */
export function readBytes(input: InferInput, bytes: Buffer): ReadInput {
  const { name, shape } = input;
  const count = countOf(input);
  if (input.datatype === 'BYTES') {
    const elements = splitElements(name, bytes);
    if (elements.length !== count)
      throw invalidRequest(
        `The input ${name} holds ${elements.length} elements, but its shape says ${count}.`,
      );
    return { name, shape, elements };
  }
  const { datatype } = input;
  const Kind = isHalf(datatype) ? Uint16Array : kindOf(input);
  if (bytes.length !== count * Kind.BYTES_PER_ELEMENT) {
    throw invalidRequest(
      `The input ${name} holds ${bytes.length} bytes, but ${count} elements of ${datatype} are ${count * Kind.BYTES_PER_ELEMENT}.`,
    );
  }
  // A view where the JSON before it left it aligned, else a copy.
  const aligned = bytes.byteOffset % Kind.BYTES_PER_ELEMENT === 0 ? bytes : new Uint8Array(bytes);
  const values = new Kind(aligned.buffer as ArrayBuffer, aligned.byteOffset, count);
  return {
    name,
    shape,
    values: isHalf(datatype) ? widen(datatype, values as Uint16Array) : (values as TensorData),
  };
}

/** Elements of BYTES: each its length as four little-endian bytes, then itself. */
function splitElements(name: string, bytes: Buffer): Buffer[] {
  const elements: Buffer[] = [];
  let position = 0;
  while (position < bytes.length) {
    const length = position + 4 <= bytes.length ? bytes.readUInt32LE(position) : Number.POSITIVE_INFINITY;
    if (position + 4 + length > bytes.length)
      throw invalidRequest(`An element of the input ${name} is cut off.`);
    elements.push(bytes.subarray(position + 4, position + 4 + length));
    position += 4 + length;
  }
  return elements;
}

/**
 * Data of JSON: numbers are packed by now, texts are flat.
 * @throws {GradCamError} `ERR_INVALID_REQUEST`
 */
export function readJson(input: InferInput, data: PackedNumbers | readonly unknown[]): ReadInput {
  const { name, shape } = input;
  const count = countOf(input);
  if (input.datatype === 'BYTES') {
    if (isPackedNumbers(data) || data.length !== count || !data.every((text) => typeof text === 'string'))
      throw invalidRequest(`The input ${name} needs ${count} texts in base64.`);
    // Pictures are bytes; texts are themselves.
    const encoding = name === 'texts' ? 'utf8' : 'base64';
    return { name, shape, elements: data.map((text) => Buffer.from(text as string, encoding)) };
  }
  const Kind = kindOf(input);
  const { values } = data as PackedNumbers;
  if (values.length !== count)
    throw invalidRequest(`The input ${name} holds ${values.length} numbers, but its shape says ${count}.`);
  if (Kind !== BigInt64Array) {
    const read = values.constructor === Kind ? values : (Kind as typeof Float32Array).from(values);
    return { name, shape, values: read };
  }
  const fraction = values.find((value) => !Number.isSafeInteger(value));
  if (fraction !== undefined) throw invalidRequest(`The input ${name} is INT64, but holds ${fraction}.`);
  return { name, shape, values: BigInt64Array.from(values, BigInt) };
}

const datatypes: Readonly<Record<DType, NumericDatatype | HalfType>> = {
  float16: 'FP16',
  bfloat16: 'BF16',
  float32: 'FP32',
  float64: 'FP64',
  uint8: 'UINT8',
  int8: 'INT8',
  int16: 'INT16',
  int32: 'INT32',
  int64: 'INT64',
  bool: 'BOOL',
};

/** The protocol's name of an element type. */
export function datatypeOf(dtype: DType): string {
  return datatypes[dtype];
}

/** A tensor's elements under the protocol's name of their type. */
export function nameTensor(name: string, tensor: Tensor): NamedTensor {
  return { name, shape: tensor.shape, datatype: datatypes[tensor.dtype], values: tensor.toTypedArray() };
}

/** Tensors of one name, from several batches, one behind the other. */
export function joinTensors(parts: readonly NamedTensor[]): NamedTensor {
  const [first] = parts as readonly [NamedTensor];
  if (parts.length === 1) return first;
  const { datatype } = first;
  const Kind = (isHalf(datatype) ? Float32Array : kinds[datatype]) as typeof Float32Array;
  const values = new Kind(parts.reduce((sum, part) => sum + part.values.length, 0));
  let position = 0;
  for (const part of parts) {
    values.set(part.values as Float32Array, position);
    position += part.values.length;
  }
  const batch = parts.reduce((sum, { shape }) => sum + (shape[0] ?? 0), 0);
  return { ...first, shape: [batch, ...first.shape.slice(1)], values };
}

export interface WrittenOutput {
  readonly name: string;
  readonly shape: number[];
  readonly datatype: string;
  readonly parameters?: { readonly binary_data_size: number };
  readonly data?: AnswerNumbers;
}

/** The bytes of an output, little-endian. */
export function rawBytes({ datatype, values }: NamedTensor): Buffer {
  return bytesOf(isHalf(datatype) ? narrow(datatype, values as Float32Array) : values);
}

/** An output for the JSON, and its bytes where they go behind it. */
export function writeOutput(
  tensor: NamedTensor,
  binary: boolean,
): { json: WrittenOutput; bytes: Buffer | null } {
  const { name, shape, datatype, values } = tensor;
  const head = { name, shape: [...shape], datatype };
  if (binary) {
    const bytes = rawBytes(tensor);
    return { json: { ...head, parameters: { binary_data_size: bytes.length } }, bytes };
  }
  const form = datatype === 'BOOL' ? 'booleans' : 'array';
  return { json: { ...head, data: new AnswerNumbers(values, [values.length], form) }, bytes: null };
}
