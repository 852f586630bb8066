import { invalidRequest } from '../http/errors.js';

/** Nested arrays of numbers, as JSON has tensors, in one array of a kind, with their shape. */
export function flatten<T extends Float32Array | Float64Array>(
  nested: unknown,
  name: string,
  Kind: new (length: number) => T,
): { data: T; shape: number[] } {
  const shape: number[] = [];
  for (let level = nested; Array.isArray(level); level = level[0]) shape.push(level.length);
  const size = shape.reduce((product, length) => product * length, 1);
  if (shape.length === 0 || size === 0)
    throw invalidRequest(`${name} is not an array of numbers, or it is empty.`);
  const data = new Kind(size);
  let position = 0;
  const copy = (level: unknown, depth: number): void => {
    if (!Array.isArray(level) || level.length !== shape[depth])
      throw invalidRequest(`${name} is ragged: its arrays of one depth differ in length.`);
    if (depth < shape.length - 1) {
      for (const inner of level) copy(inner, depth + 1);
      return;
    }
    for (const value of level) {
      if (typeof value !== 'number' && typeof value !== 'boolean')
        throw invalidRequest(`${name} holds something that is not a number.`);
      data[position++] = Number(value);
    }
  };
  copy(nested, 0);
  return { data, shape };
}

/** One array as nested arrays of the shape. */
export function nest(values: ArrayLike<unknown>, shape: readonly number[], start = 0): unknown[] {
  const [length = 0, ...inner] = shape;
  const step = inner.reduce((product, size) => product * size, 1);
  if (inner.length === 0) return Array.from({ length }, (_, index) => values[start + index]);
  return Array.from({ length }, (_, index) => nest(values, inner, start + index * step));
}
