import { invalidRequest } from '../http/errors.js';

// A message of a few megabytes can hold millions of fields that are empty, each of which becomes an object when the message
// is read. So the fields are counted before, on the wire: a field is its number and kind as a varint, then a varint (kind 0),
// eight bytes (1), a length and so many bytes (2), or four bytes (5). Kinds 3 and 4, which nest, are not used any more.

/** The most of what a request may hold. */
export interface MessageLimits {
  readonly tensors: number;
  readonly parameters: number;
  readonly dimensions: number;
  /** Elements of BYTES in typed contents. */
  readonly elements: number;
  /** Integers and truth values in typed contents; numbers with a point take bytes enough to be bounded by the message. */
  readonly integers: number;
}

const inferRequest = { parameters: 4, inputs: 5, outputs: 6, raw: 7 } as const;
const inputTensor = { shape: 3, parameters: 4, contents: 5 } as const;
const outputTensor = { parameters: 2 } as const;
const largestIntegerField = 5;
const bytesContents = 8;

/**
 * Counts what a ModelInferRequest holds.
 * @throws {GradCamError} `ERR_INVALID_REQUEST` where that is too much, or where it is no message
 */
export function checkInferRequest(bytes: Buffer, limits: MessageLimits): void {
  const counted = { inputs: 0, outputs: 0, raw: 0, parameters: 0, elements: 0, integers: 0 };
  const count = (what: keyof typeof counted, most: number, name: string, by = 1) => {
    counted[what] += by;
    if (counted[what] > most) throw invalidRequest(`The request has more than ${most} ${name}.`);
  };
  const parameter = () => count('parameters', limits.parameters, 'parameters');
  const integers = (by: number) =>
    count('integers', limits.integers, 'integers in typed contents; send large tensors raw', by);

  const contents = (field: number, kind: number, part: Buffer) => {
    if (field === bytesContents) count('elements', limits.elements, 'elements of BYTES');
    else if (field <= largestIntegerField) integers(kind === 2 ? countVarints(part) : 1);
  };
  const input = (part: Buffer) => {
    let dimensions = 0;
    let contained = 0;
    eachField(part, (field, kind, value) => {
      if (field === inputTensor.shape) dimensions += kind === 2 ? countVarints(value) : 1;
      if (field === inputTensor.parameters) parameter();
      if (field === inputTensor.contents) {
        if (++contained > 1) throw invalidRequest('An input has contents twice.');
        eachField(value, contents);
      }
      if (dimensions > limits.dimensions)
        throw invalidRequest(`The shape of an input has more than ${limits.dimensions} dimensions.`);
    });
  };
  eachField(bytes, (field, _kind, value) => {
    if (field === inferRequest.parameters) parameter();
    if (field === inferRequest.inputs) {
      count('inputs', limits.tensors, 'inputs');
      input(value);
    }
    if (field === inferRequest.outputs) {
      count('outputs', limits.tensors, 'outputs');
      eachField(value, (inner) => {
        if (inner === outputTensor.parameters) parameter();
      });
    }
    if (field === inferRequest.raw) count('raw', limits.tensors, 'raw contents');
  });
}

const nothing: Buffer = Buffer.alloc(0);

/** Visits the fields of a message in order; `value` is the bytes of kind 2, else empty. */
function eachField(bytes: Buffer, visit: (field: number, kind: number, value: Buffer) => void): void {
  let position = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; shift < 10; shift++) {
      const byte = bytes[position++];
      if (byte === undefined) break;
      // Lengths and tags have 32 bits; of longer numbers only where they end matters.
      value += (byte & 127) * 2 ** (7 * shift);
      if (byte < 128) return value;
    }
    throw invalidRequest('The message is cut off.');
  };
  while (position < bytes.length) {
    const tag = varint();
    const kind = tag % 8;
    let value = nothing;
    if (kind === 0) varint();
    else if (kind === 1) position += 8;
    else if (kind === 5) position += 4;
    else if (kind === 2) {
      const length = varint();
      value = bytes.subarray(position, position + length);
      position += length;
    } else throw invalidRequest('The message has a field of a kind that is not used.');
    if (position > bytes.length) throw invalidRequest('The message is cut off.');
    visit(Math.floor(tag / 8), kind, value);
  }
}

/** Each ends with a byte below 128. */
function countVarints(bytes: Buffer): number {
  let count = 0;
  for (const byte of bytes) if (byte < 128) count++;
  return count;
}
