/** NumPy's .npy, version 1.0, of little-endian float32 in row-major order. */
export function encodeNpy(values: Float32Array, shape: readonly number[]): Buffer {
  const shapeText = shape.length === 1 ? `${shape[0]},` : shape.join(', ');
  const description = `{'descr': '<f4', 'fortran_order': False, 'shape': (${shapeText}), }`;
  // The data starts at a multiple of 64 bytes: magic 6, version 2, length 2, then the description and a newline.
  const padded = description.padEnd(Math.ceil((10 + description.length + 1) / 64) * 64 - 11);
  const head = Buffer.from(`\x93NUMPY\x01\x00\x00\x00${padded}\n`, 'latin1');
  head.writeUInt16LE(padded.length + 1, 8);
  return Buffer.concat([head, bytesOf(values)]);
}

/** The bytes behind a typed array, not copied. */
export function bytesOf(values: ArrayBufferView): Buffer {
  return Buffer.from(values.buffer, values.byteOffset, values.byteLength);
}
