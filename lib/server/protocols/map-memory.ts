import { jsonBytesPerNumber } from '../workers/answer-json.js';

/** How the numbers of an answer are written. */
export type NumberForm = 'array' | 'base64' | 'binary' | 'none';

const bytesWritten: Readonly<Record<NumberForm, number>> = {
  array: jsonBytesPerNumber,
  // Four bytes are a little over five letters.
  base64: 6,
  binary: 4,
  none: 0,
};

/** Bytes of float32 values while they are in memory and in an answer. */
export function memoryOf(values: number, form: NumberForm): number {
  return values * (4 + bytesWritten[form]);
}

/** "4 maps of 224 x 224". */
export function nameMaps(maps: number, [height, width]: readonly [height: number, width: number]): string {
  return `${maps} ${maps === 1 ? 'map' : 'maps'} of ${width} x ${height}`;
}
