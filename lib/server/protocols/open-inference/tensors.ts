import type { Tensor, TensorData } from '../../../tensor/tensor.js';
import { bytesOf } from '../../../tensor/typed-array-bytes.js';
import { invalidRequest } from '../../http/errors.js';
import { flatten, nest } from '../nested-numbers.js';
import { widen } from './half-types.js';

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
/** Read as float32; an answer has none of them. */
const halfTypes = ['FP16', 'BF16'] as const;
type HalfType = (typeof halfTypes)[number];

export interface InferInput {
  readonly name: string;
  readonly shape: readonly number[];
  readonly datatype: string;
  readonly parameters?: { readonly binary_data_size?: unknown } | undefined;
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
  readonly datatype: NumericDatatype;
  readonly values: TensorData;
}

/**
 * Reads the inputs; what stands behind the JSON is taken from `binary` in order, and all of it has to be used.
 * @throws {GradCamError} `ERR_INVALID_REQUEST`
 */
export function readInputs(inputs: readonly InferInput[], binary: Buffer | null): ReadInput[] {
  let position = 0;
  const read = inputs.map((input) => {
    const { name, parameters, data } = input;
    const announced = parameters?.binary_data_size;
    if (announced === undefined) {
      if (!Array.isArray(data))
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

function countOf({ name, shape }: InferInput): number {
  const count = shape.reduce((product, length) => product * length, 1);
  if (!Number.isSafeInteger(count) || count < 1)
    throw invalidRequest(`The shape of the input ${name} is empty or too large.`);
  return count;
}

function kindOf({ name, datatype }: InferInput): (typeof kinds)[NumericDatatype] {
  if (Object.hasOwn(kinds, datatype)) return kinds[datatype as NumericDatatype];
  if (isHalf(datatype)) return Float32Array;
  throw invalidRequest(
    `The input ${name} is ${datatype}, which is not supported. There is: ${[...Object.keys(kinds), ...halfTypes].join(', ')}, BYTES.`,
  );
}

function isHalf(datatype: string): datatype is HalfType {
  return (halfTypes as readonly string[]).includes(datatype);
}

function readBytes(input: InferInput, bytes: Buffer): ReadInput {
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

function readJson(input: InferInput, data: readonly unknown[]): ReadInput {
  const { name, shape } = input;
  const count = countOf(input);
  if (input.datatype === 'BYTES') {
    const texts = data.flat(Number.POSITIVE_INFINITY);
    if (texts.length !== count || !texts.every((text) => typeof text === 'string'))
      throw invalidRequest(`The input ${name} needs ${count} texts in base64.`);
    // Pictures are bytes; texts are themselves.
    const encoding = name === 'texts' ? 'utf8' : 'base64';
    return { name, shape, elements: texts.map((text) => Buffer.from(text as string, encoding)) };
  }
  const Kind = kindOf(input);
  const { data: numbers } = flatten(data, `The input ${name}`, Float64Array);
  if (numbers.length !== count)
    throw invalidRequest(`The input ${name} holds ${numbers.length} numbers, but its shape says ${count}.`);
  if (Kind !== BigInt64Array) return { name, shape, values: (Kind as typeof Float32Array).from(numbers) };
  const fraction = numbers.find((value) => !Number.isSafeInteger(value));
  if (fraction !== undefined) throw invalidRequest(`The input ${name} is INT64, but holds ${fraction}.`);
  return { name, shape, values: BigInt64Array.from(numbers, BigInt) };
}

/** A tensor's elements under the protocol's name of their type. */
export function nameTensor(name: string, tensor: Tensor): NamedTensor {
  const values = tensor.toTypedArray();
  const datatype = tensor.dtype === 'bool' ? 'BOOL' : datatypeOf(values);
  return { name, shape: tensor.shape, datatype, values };
}

function datatypeOf(values: TensorData): NumericDatatype {
  const found = Object.entries(kinds).find(([, Kind]) => values instanceof Kind);
  return (found?.[0] ?? 'FP32') as NumericDatatype;
}

/** Tensors of one name, from several batches, one behind the other. */
export function joinTensors(parts: readonly NamedTensor[]): NamedTensor {
  const [first] = parts as readonly [NamedTensor];
  if (parts.length === 1) return first;
  const Kind = kinds[first.datatype] as typeof Float32Array;
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
  readonly data?: unknown;
}

/** An output for the JSON, and its bytes where they go behind it. */
export function writeOutput(
  { name, shape, datatype, values }: NamedTensor,
  binary: boolean,
): { json: WrittenOutput; bytes: Buffer | null } {
  const head = { name, shape: [...shape], datatype };
  if (binary) {
    const bytes = bytesOf(values);
    return { json: { ...head, parameters: { binary_data_size: bytes.length } }, bytes };
  }
  const plain = Array.from<number | bigint, number | boolean>(values, datatype === 'BOOL' ? Boolean : Number);
  return { json: { ...head, data: nest(plain, [plain.length]) }, bytes: null };
}
