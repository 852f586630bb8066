import { endianness } from 'node:os';
import { extname } from 'node:path';
import { argumentOutOfRange, invalidArgumentType } from '../errors/errors.js';
import { filePath } from '../files/file-path.js';
import { writeWholeFile } from '../files/whole-file.js';
import { Tensor, type TensorData } from './tensor.js';
import { bytesOf } from './typed-array-bytes.js';

/**
 * A tensor as an .npy file, format version 1.0: what `numpy.load` reads. Half precision is written as float32.
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`
 * @throws {GradCamError} `ERR_DISPOSED`
 */
export function tensorToNpy(tensor: Tensor): Buffer {
  if (!(tensor instanceof Tensor)) throw invalidArgumentType('tensor', 'a Tensor', tensor);
  return valuesToNpy(tensor.toTypedArray(), tensor.shape, tensor.dtype === 'bool');
}

/**
 * As {@link tensorToNpy}, of values that are here already.
 * @internal
 */
export function valuesToNpy(values: TensorData, dimensions: readonly number[], isBool = false): Buffer {
  const shape = dimensions.length === 1 ? `${dimensions[0]},` : dimensions.join(', ');
  const type = isBool ? '|b1' : typeCode(values);
  const description = `{'descr': '${type}', 'fortran_order': False, 'shape': (${shape}), }`;
  // Magic string, version, length of the header; then the data begins at a multiple of 64. numpy leaves 20 digits' room
  // for a first dimension that grows, and so do we: equal tensors give equal files.
  const room = dimensions.length > 0 ? Math.max(0, 21 - String(dimensions[0]).length) : 0;
  const unpadded = 10 + description.length + room + 1;
  const header = `${description.padEnd(description.length + room + ((64 - (unpadded % 64)) % 64))}\n`;
  const start = Buffer.from([0x93, ...Buffer.from('NUMPY'), 1, 0, header.length & 0xff, header.length >> 8]);
  return Buffer.concat([start, Buffer.from(header, 'latin1'), bytesOf(values)]);
}

function typeCode(data: TensorData): string {
  const kind = data instanceof Float32Array || data instanceof Float64Array ? 'f' : 'i';
  const bytes = data.BYTES_PER_ELEMENT;
  if (data instanceof Uint8Array || data instanceof Uint8ClampedArray) return '|u1';
  if (bytes === 1) return `|${kind}1`;
  return `${endianness() === 'LE' ? '<' : '>'}${kind}${bytes}`;
}

/** A tensor as plain JSON: fits where a `TensorLike` is asked for. */
export interface TensorJson {
  readonly shape: readonly number[];
  /** Row by row. */
  readonly data: readonly number[];
}

/**
 * A tensor as an object for JSON, its values rounded.
 * @param digits - significant digits of each value, 1 to 17. Default 5
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, also for NaN and infinite values, which JSON lacks
 * @throws {GradCamError} `ERR_DISPOSED`
 */
export function tensorToJson(tensor: Tensor, digits = 5): TensorJson {
  if (!(tensor instanceof Tensor)) throw invalidArgumentType('tensor', 'a Tensor', tensor);
  if (!Number.isInteger(digits) || digits < 1 || digits > 17)
    throw argumentOutOfRange('digits', 'an integer from 1 to 17', digits);
  const given = tensor.toTypedArray();
  const isInteger = !(given instanceof Float32Array || given instanceof Float64Array);
  const values = Array.from(given, Number);
  const wrong = values.find((value) => !Number.isFinite(value));
  if (wrong !== undefined) throw argumentOutOfRange('tensor', 'finite values, which JSON can write', wrong);
  const data = isInteger ? values : values.map((value) => Number(value.toPrecision(digits)));
  return { shape: tensor.shape, data };
}

/**
 * A tensor as the content of a file of that format.
 * @throws as {@link tensorToNpy} and {@link tensorToJson}
 * @internal
 */
export function encodeTensor(tensor: Tensor, format: 'npy' | 'json'): Buffer {
  return format === 'npy' ? tensorToNpy(tensor) : Buffer.from(`${JSON.stringify(tensorToJson(tensor))}\n`);
}

/**
 * Writes a tensor, such as raw maps; the extension (.npy, .json) chooses the format, and missing folders are made. The
 * file appears complete or not at all.
 * @param file - its path, or a `file:` URL
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`
 * @throws {GradCamError} `ERR_DISPOSED`
 * @example await writeTensor(explanation.heatmaps, 'maps.npy');
 */
export async function writeTensor(tensor: Tensor, file: string | URL): Promise<void> {
  const path = filePath(file);
  const extension = typeof path === 'string' ? extname(path).toLowerCase() : '';
  if (extension !== '.npy' && extension !== '.json')
    throw invalidArgumentType('path', 'a file ending in .npy or .json', path);
  await writeWholeFile(path, encodeTensor(tensor, extension === '.npy' ? 'npy' : 'json'));
}
