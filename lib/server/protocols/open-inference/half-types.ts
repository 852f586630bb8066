// Numbers of 16 bits, which arrays of JavaScript do not hold.

/** All values of float16 (IEEE 754 binary16), by their bits. */
let float16: Float32Array | undefined;

function float16Values(): Float32Array {
  float16 ??= Float32Array.from({ length: 2 ** 16 }, (_, bits) => {
    const sign = bits < 2 ** 15 ? 1 : -1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
    return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  });
  return float16;
}

/** The same numbers as float32, which holds each of them. `bits` are little-endian as they came. */
export function widen(datatype: 'FP16' | 'BF16', bits: Uint16Array): Float32Array {
  if (datatype === 'BF16') return new Float32Array(Uint32Array.from(bits, (each) => each << 16).buffer);
  const values = float16Values();
  return Float32Array.from(bits, (each) => values[each] as number);
}

/** The bits of numbers that came as 16 bits from a model, little-endian; others are rounded towards zero. */
export function narrow(datatype: 'FP16' | 'BF16', values: Float32Array): Uint16Array {
  const wide = new Uint32Array(values.buffer, values.byteOffset, values.length);
  return Uint16Array.from(wide, datatype === 'BF16' ? (bits) => bits >>> 16 : float16Bits);
}

/** Float16's exponents are 127 - 15 = 112 less than those of float32, and its fractions 13 bits shorter. */
function float16Bits(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const exponent = ((bits >>> 23) & 255) - 112;
  const fraction = bits & 0x7fffff;
  if (exponent === 255 - 112) return sign | 0x7c00 | (fraction === 0 ? 0 : 0x200 | (fraction >> 13));
  if (exponent > 30) return sign | 0x7c00;
  if (exponent > 0) return sign | (exponent << 10) | (fraction >> 13);
  // Subnormal: the leading one is in the fraction.
  return exponent < -9 ? sign : sign | ((fraction | 0x800000) >> (14 - exponent));
}
