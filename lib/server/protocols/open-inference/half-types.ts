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
