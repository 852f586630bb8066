import { types } from 'node:util';

/** The bytes behind a typed array, not copied. */
export function bytesOf(values: ArrayBufferView): Buffer {
  return Buffer.from(values.buffer, values.byteOffset, values.byteLength);
}

/**
 * The bytes of a buffer or of any view of one; null for what is neither. Of shared memory, where another thread may write at
 * any time, what is there now; else not copied.
 * @internal
 */
export function bytesFrom(source: unknown): Uint8Array | null {
  const isView = ArrayBuffer.isView(source);
  if (!isView && !types.isAnyArrayBuffer(source)) return null;
  if (source.byteLength === 0) return new Uint8Array(); // also where the memory was given away
  const bytes = isView
    ? new Uint8Array(source.buffer, source.byteOffset, source.byteLength)
    : new Uint8Array(source);
  return types.isSharedArrayBuffer(bytes.buffer) ? bytes.slice() : bytes;
}
