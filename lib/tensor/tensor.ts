import { types } from 'node:util';
import {
  callNative,
  type DType,
  type NativeOperationArguments,
  type NativeTensor,
  type TensorData,
  type TensorReference,
} from '../addon/addon.js';
import { argumentOutOfRange, GradCamError, invalidArgumentType } from '../errors/errors.js';
import { readOptions } from '../errors/options.js';
import { elementCount } from './element-count.js';
import { bytesFrom } from './typed-array-bytes.js';

export type { DType, TensorData } from '../addon/addon.js';

/** Anything that can stand for a tensor: a {@link Tensor}, or data with its shape. */
export type TensorLike =
  | Tensor
  | {
      readonly data: TensorData | readonly number[] | ArrayBuffer | SharedArrayBuffer | DataView;
      readonly shape: readonly number[];
    };

export interface ReductionOptions {
  /** Leave the reduced dimensions in the shape, with length 1. Default false. */
  readonly keepDimensions?: boolean;
}

/**
 * A tensor that lives outside of the JavaScript heap, on the CPU or on a CUDA device. Immutable. Its memory is freed
 * with `dispose()` (or `using`), and at the latest when it is garbage collected.
 */
export class Tensor {
  readonly #reference: TensorReference;

  /** Size of each dimension, outermost first; images are `[batch, channels, height, width]`. */
  readonly shape: readonly number[];
  /** Element type. */
  readonly dtype: DType;
  /** `'cpu'` or `'cuda:N'`. */
  readonly device: string;

  private constructor(native: NativeTensor) {
    this.#reference = native.reference;
    this.shape = Object.freeze(native.shape);
    this.dtype = native.dtype;
    this.device = native.device;
  }

  /** @internal */
  static fromNative(native: NativeTensor): Tensor {
    return new Tensor(native);
  }

  /** @internal */
  static reference(tensor: Tensor): TensorReference {
    return tensor.#reference;
  }

  /**
   * A tensor from a typed array or numbers, copied: later changes of `data` do not show. The element type is the
   * array's; plain numbers become float32.
   * @param data - row-major elements: a typed array, numbers, or bytes in this machine's order, as a buffer or a DataView
   * @param shape - its product must be the number of elements
   * @param dtype - of bytes that are no typed array: what they hold. Default `'float32'`
   * @throws {TypeError} `ERR_INVALID_ARG_TYPE`
   * @throws {RangeError} `ERR_OUT_OF_RANGE` when shape and data do not fit
   * @example Tensor.from(new Float32Array(3 * 224 * 224), [1, 3, 224, 224])
   */
  static from(
    data: TensorData | readonly number[] | ArrayBuffer | SharedArrayBuffer | DataView,
    shape: readonly number[],
    dtype?: Exclude<DType, 'float16' | 'bfloat16' | 'bool'>,
  ): Tensor {
    const elements = checkData(data, dtype);
    const sizes = checkShape(shape, elements.length);
    return new Tensor(callNative((module) => module.tensorFromTypedArray(elements, sizes)));
  }

  /** @internal Zeros in float32. */
  static zeros(shape: readonly number[]): Tensor {
    const sizes = checkShape(shape);
    return Tensor.from(allocate(Float32Array, elementCount(sizes)), sizes);
  }

  /** @internal A tensor from whatever a caller may pass as one. */
  static fromLike(value: unknown, name: string): Tensor {
    if (value instanceof Tensor) return value;
    if (typeof value === 'object' && value !== null && 'data' in value && 'shape' in value) {
      return Tensor.from(value.data as TensorData, value.shape as number[]);
    }
    throw invalidArgumentType(name, 'a Tensor or { data, shape }', value);
  }

  /** Number of elements. */
  get size(): number {
    return elementCount(this.shape);
  }

  /**
   * A copy of the elements in row-major order: float16, bfloat16 and float32 as Float32Array, float64 as
   * Float64Array, bool and uint8 as Uint8Array, int64 as BigInt64Array.
   * @throws {GradCamError} `ERR_DISPOSED`, `ERR_OUT_OF_MEMORY`
   */
  toTypedArray(): TensorData {
    const reference = this.#reference;
    const elements = allocate(exportedKinds[this.dtype], this.size);
    callNative((module) => module.tensorCopyTo(reference, elements));
    return elements;
  }

  /**
   * The `index`-th slice of the first dimension, sharing memory: of heatmaps `[N, H, W]` the map `[H, W]`.
   * A negative index counts from the end.
   * @throws {RangeError} `ERR_OUT_OF_RANGE`
   * @throws {GradCamError} `ERR_DISPOSED`
   */
  at(index: number): Tensor {
    const length = this.shape[0];
    if (length === undefined)
      throw argumentOutOfRange('index', 'a tensor with at least one dimension', index);
    if (!Number.isInteger(index) || index < -length || index >= length) {
      throw argumentOutOfRange('index', `an integer from ${-length} to ${length - 1}`, index);
    }
    const position = index < 0 ? index + length : index;
    return new Tensor(callNative((module) => module.tensorAt(this.#reference, position)));
  }

  // The operations. They run at once, on the calling thread and the tensor's device, and are meant for the small tensors
  // that a target function (`TargetFunction`) makes its score of; there, gradients flow back through them. A dimension
  // below 0 counts from the last. All throw `ERR_TENSOR_OPERATION` where shapes or element types do not fit.

  /** The `index`-th slice of a dimension, without that dimension: of `[C, H, W]` `select(0, 5)` is channel 5. */
  select(dimension: number, index: number): Tensor {
    return this.#apply('select', [], {
      dimensions: [checkInteger('dimension', dimension), checkInteger('index', index)],
    });
  }

  /** The sum with a tensor (broadcast as in PyTorch) or a number. */
  add(other: Tensor | number): Tensor {
    return this.#combine('add', other);
  }

  /** This minus `other`. */
  sub(other: Tensor | number): Tensor {
    return this.#combine('sub', other);
  }

  /** The element-wise product. */
  mul(other: Tensor | number): Tensor {
    return this.#combine('mul', other);
  }

  /** The element-wise quotient. */
  div(other: Tensor | number): Tensor {
    return this.#combine('div', other);
  }

  /** The sum over some dimensions; over all, to a tensor of one element, where none are given. */
  sum(dimensions?: number | readonly number[], options?: ReductionOptions): Tensor {
    return this.#reduce('sum', dimensions, options);
  }

  /** The mean over some dimensions; over all where none are given. */
  mean(dimensions?: number | readonly number[], options?: ReductionOptions): Tensor {
    return this.#reduce('mean', dimensions, options);
  }

  /** The greatest element along one dimension; of all where none is given. */
  max(dimension?: number, options?: ReductionOptions): Tensor {
    return this.#reduce('max', dimension, options);
  }

  /** The vector norm of the given order (default 2, Euclidean) over some dimensions; over all where none are given. */
  norm(order = 2, dimensions?: number | readonly number[], options?: ReductionOptions): Tensor {
    return this.#reduce('norm', dimensions, options, checkNumber('order', order));
  }

  /** Probabilities along a dimension, the last by default. */
  softmax(dimension = -1): Tensor {
    return this.#apply('softmax', [], { dimensions: [checkInteger('dimension', dimension)] });
  }

  /** Logarithms of the probabilities along a dimension, the last by default. */
  logSoftmax(dimension = -1): Tensor {
    return this.#apply('logSoftmax', [], { dimensions: [checkInteger('dimension', dimension)] });
  }

  /** The matrix product; of two vectors their dot product. Batches of matrices broadcast as in PyTorch. */
  matmul(other: Tensor): Tensor {
    if (!(other instanceof Tensor)) throw invalidArgumentType('other', 'a Tensor', other);
    return this.#apply('matmul', [other], { dimensions: [] });
  }

  /** The same elements in another shape; one length may be -1 and is found. */
  reshape(shape: readonly number[]): Tensor {
    if (!Array.isArray(shape)) throw invalidArgumentType('shape', 'an array of integers', shape);
    const dimensions = shape.map((length, index) => checkInteger(`shape[${index}]`, length));
    return this.#apply('reshape', [], { dimensions });
  }

  /** Every element kept within bounds, of which at least one is given. */
  clamp(bounds: { readonly min?: number; readonly max?: number }): Tensor {
    const { min, max } = readOptions<{ min?: number; max?: number }>('clamp bounds', bounds, ['min', 'max']);
    if (min === undefined && max === undefined) throw invalidArgumentType('bounds', '{ min, max }', bounds);
    return this.#apply('clamp', [], {
      dimensions: [],
      ...(min === undefined ? {} : { first: checkNumber('min', min) }),
      ...(max === undefined ? {} : { second: checkNumber('max', max) }),
    });
  }

  /** e to the power of every element. */
  exp(): Tensor {
    return this.#apply('exp', [], { dimensions: [] });
  }

  /** The natural logarithm of every element. */
  log(): Tensor {
    return this.#apply('log', [], { dimensions: [] });
  }

  #combine(name: string, other: unknown): Tensor {
    if (other instanceof Tensor) return this.#apply(name, [other], { dimensions: [] });
    if (typeof other === 'number') return this.#apply(name, [], { dimensions: [], first: other });
    throw invalidArgumentType('other', 'a Tensor or a number', other);
  }

  #reduce(name: string, dimensions: unknown, options: unknown, first?: number): Tensor {
    const { keepDimensions = false } = readOptions<ReductionOptions>(`${name} options`, options, [
      'keepDimensions',
    ]);
    const given = Array.isArray(dimensions) ? dimensions : dimensions === undefined ? [] : [dimensions];
    return this.#apply(name, [], {
      dimensions: given.map((dimension) => checkInteger('dimensions', dimension)),
      keepDimensions: Boolean(keepDimensions),
      ...(first === undefined ? {} : { first }),
    });
  }

  #apply(name: string, others: readonly Tensor[], how: NativeOperationArguments): Tensor {
    const operands = [this, ...others].map(Tensor.reference);
    return new Tensor(callNative((module) => module.tensorOperation(name, operands, how)));
  }

  /** @internal A second handle of the same memory, which stays when the caller disposes this one. */
  share(): Tensor {
    return new Tensor(callNative((module) => module.tensorShare(this.#reference)));
  }

  /** @internal `length` slices of the first dimension from `start` on, sharing memory. */
  narrow(start: number, length: number): Tensor {
    return new Tensor(callNative((module) => module.tensorNarrow(this.#reference, start, length)));
  }

  /** Frees the memory now, unless another tensor shares it. Further use throws `ERR_DISPOSED`; calling again is fine. */
  dispose(): void {
    callNative((module) => module.tensorDispose(this.#reference));
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function checkInteger(name: string, value: unknown): number {
  if (typeof value !== 'number') throw invalidArgumentType(name, 'an integer', value);
  if (!Number.isSafeInteger(value)) throw argumentOutOfRange(name, 'an integer', value);
  return value;
}

function checkNumber(name: string, value: unknown): number {
  if (typeof value !== 'number' || Number.isNaN(value)) throw invalidArgumentType(name, 'a number', value);
  return value;
}

const typedArrayKinds = {
  Float32Array,
  Float64Array,
  Uint8Array,
  Int8Array,
  Int16Array,
  Int32Array,
  BigInt64Array,
  Uint8ClampedArray,
} as const;

/** The kind of array that elements of a type are read into. */
const exportedKinds = {
  float16: Float32Array,
  bfloat16: Float32Array,
  float32: Float32Array,
  float64: Float64Array,
  uint8: Uint8Array,
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  bool: Uint8Array,
} as const;

function allocate(kind: (typeof exportedKinds)[DType], length: number): TensorData {
  try {
    return new kind(length);
  } catch (cause) {
    throw new GradCamError(
      'ERR_OUT_OF_MEMORY',
      `Not enough memory for an array of ${length} elements: ${(cause as Error).message}.`,
      { cause },
    );
  }
}

// JavaScript's own way to tell the kind of a typed array, also of another realm's; undefined for everything else.
const kindOf = Object.getOwnPropertyDescriptor(
  Object.getPrototypeOf(Uint8Array.prototype),
  Symbol.toStringTag,
)?.get as (this: unknown) => string | undefined;

/** What bytes that are no typed array may hold. */
const byteKinds = {
  float32: Float32Array,
  float64: Float64Array,
  uint8: Uint8Array,
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
} as const;

function fromBytes(bytes: Uint8Array, dtype: unknown = 'float32'): TensorData {
  if (typeof dtype !== 'string' || !Object.hasOwn(byteKinds, dtype))
    throw invalidArgumentType('dtype', `one of '${Object.keys(byteKinds).join("', '")}'`, dtype);
  const kind = byteKinds[dtype as keyof typeof byteKinds];
  if (bytes.byteLength % kind.BYTES_PER_ELEMENT !== 0)
    throw argumentOutOfRange('data', `bytes of whole ${dtype} elements`, `${bytes.byteLength} bytes`);
  // A view may begin anywhere; an array of elements must not.
  const { buffer, byteOffset } = bytes.byteOffset % kind.BYTES_PER_ELEMENT === 0 ? bytes : bytes.slice();
  return new kind(buffer as ArrayBuffer, byteOffset, bytes.byteLength / kind.BYTES_PER_ELEMENT);
}

function checkData(data: unknown, dtype: unknown): TensorData {
  if (types.isAnyArrayBuffer(data) || types.isDataView(data))
    return fromBytes(bytesFrom(data) as Uint8Array, dtype);
  if (dtype !== undefined)
    throw invalidArgumentType('dtype', 'nothing where the data is a typed array or numbers', dtype);
  if (Array.isArray(data)) {
    const position = data.findIndex((value) => typeof value !== 'number');
    if (position >= 0) throw invalidArgumentType(`data[${position}]`, 'a number', data[position]);
    return Float32Array.from(data);
  }
  const kind = kindOf.call(data);
  if (kind === undefined || !Object.hasOwn(typedArrayKinds, kind)) {
    throw invalidArgumentType('data', 'a Float32Array (or another typed array, numbers, or a buffer)', data);
  }
  const elements = data as TensorData;
  if (!types.isSharedArrayBuffer(elements.buffer)) return elements;
  // Another thread may write to shared memory at any time: take what is there now.
  return new typedArrayKinds[kind as 'Float32Array'](elements as Float32Array);
}

const mostDimensions = 64;

function checkShape(shape: unknown, elementCount?: number): readonly number[] {
  if (!Array.isArray(shape)) throw invalidArgumentType('shape', 'an array of integers', shape);
  const sizes = [...shape];
  if (sizes.length > mostDimensions)
    throw argumentOutOfRange('shape', `at most ${mostDimensions} dimensions`, sizes.length);
  let product = 1;
  let extent = 1; // with lengths of 0 counted as 1: LibTorch computes strides with these
  for (const [index, length] of sizes.entries()) {
    if (!Number.isSafeInteger(length) || length < 0) {
      throw argumentOutOfRange(`shape[${index}]`, 'an integer of at least 0', length);
    }
    product *= length;
    extent *= Math.max(length, 1);
  }
  if (product !== (elementCount ?? product) || extent > Number.MAX_SAFE_INTEGER) {
    throw argumentOutOfRange(
      'shape',
      `a shape for the ${elementCount ?? 'allowed'} elements of data (its product is ${product})`,
      `[${sizes.join(', ')}]`,
    );
  }
  return sizes;
}
