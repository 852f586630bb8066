import { GradCamError } from '../../errors/errors.js';
import { elementCount } from '../../tensor/element-count.js';

// Nested arrays of numbers, as JSON has tensors, packed into one typed array: it goes from one thread to another without
// being copied, and takes a fraction of the memory.

/** Numbers row by row, with the shape that their nesting had. */
export interface PackedNumbers {
  readonly values: Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer>;
  readonly shape: readonly number[];
}

export function isPackedNumbers(value: unknown): value is PackedNumbers {
  const { values } = (value ?? {}) as Partial<PackedNumbers>;
  return values instanceof Float32Array || values instanceof Float64Array;
}

/** Tensors have no more dimensions here than this. */
const deepest = 8;

/**
 * Packs nested arrays. Their lengths are checked before memory is taken: a small body cannot announce a large tensor.
 * @param name - of what is packed, for messages
 * @throws {GradCamError} `ERR_INVALID_REQUEST` for what is empty, ragged, too deep or no number
 */
export function packNumbers(
  nested: readonly unknown[],
  name: string,
  Kind: Float32ArrayConstructor | Float64ArrayConstructor,
): PackedNumbers {
  const shape: number[] = [];
  for (let level: unknown = nested; Array.isArray(level); level = level[0]) {
    shape.push(level.length);
    if (shape.length > deepest) throw invalid(`${name} is nested more than ${deepest} arrays deep.`);
  }
  if (shape.includes(0)) throw invalid(`${name} is empty.`);
  checkLengths(nested, shape, name);
  const values = new Kind(elementCount(shape));
  let position = 0;
  const copy = (level: readonly unknown[], depth: number): void => {
    if (depth < shape.length - 1) {
      for (const inner of level) copy(inner as readonly unknown[], depth + 1);
      return;
    }
    for (const value of level) {
      if (typeof value !== 'number' && typeof value !== 'boolean')
        throw invalid(`${name} holds something that is not a number.`);
      values[position++] = Number(value);
    }
  };
  copy(nested, 0);
  return { values, shape };
}

function checkLengths(level: unknown, shape: readonly number[], name: string, depth = 0): void {
  if (!Array.isArray(level) || level.length !== shape[depth])
    throw invalid(`${name} is ragged: its arrays of one depth differ in length.`);
  if (depth < shape.length - 1) for (const inner of level) checkLengths(inner, shape, name, depth + 1);
}

function invalid(message: string): GradCamError {
  return new GradCamError('ERR_INVALID_REQUEST', message);
}
