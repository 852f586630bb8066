import { bytesOf } from '../../tensor/typed-array-bytes.js';

/** Numbers in an answer that is written as JSON: nested as their shape says, or base64 of their little-endian bytes. */
export class AnswerNumbers {
  readonly values: ArrayBufferView & ArrayLike<number | bigint>;
  readonly shape: readonly number[];
  readonly form: 'array' | 'booleans' | 'base64';

  constructor(
    values: AnswerNumbers['values'],
    shape: readonly number[],
    form: AnswerNumbers['form'] = 'array',
  ) {
    this.values = values;
    this.shape = shape;
    this.form = form;
  }
}

/** What one number takes as JSON, at most about. */
export const jsonBytesPerNumber = 20;

/** JSON in which {@link AnswerNumbers} may stand anywhere. Classes are lost between threads, their fields are not. */
export function writeAnswerJson(answer: unknown): string {
  if (typeof answer !== 'object' || answer === null) return JSON.stringify(answer) ?? 'null';
  if (isNumbers(answer)) return writeNumbers(answer);
  if (Array.isArray(answer)) return `[${answer.map(writeAnswerJson).join(',')}]`;
  const fields = Object.entries(answer).filter(([, value]) => value !== undefined);
  return `{${fields.map(([key, value]) => `${JSON.stringify(key)}:${writeAnswerJson(value)}`).join(',')}}`;
}

function isNumbers(value: object): value is AnswerNumbers {
  return ArrayBuffer.isView((value as Partial<AnswerNumbers>).values);
}

function writeNumbers({ values, shape, form }: AnswerNumbers): string {
  if (form === 'base64') return `"${bytesOf(values).toString('base64')}"`;
  const convert: (value: number | bigint) => number | boolean = form === 'booleans' ? Boolean : Number;
  const write = (depth: number, start: number, size: number): string => {
    const length = shape[depth];
    if (length === undefined) return JSON.stringify(convert(values[start] as number));
    if (depth === shape.length - 1)
      return JSON.stringify(Array.from({ length }, (_, index) => convert(values[start + index] as number)));
    const step = size / length;
    return `[${Array.from({ length }, (_, index) => write(depth + 1, start + index * step, step)).join(',')}]`;
  };
  return write(0, 0, values.length);
}

/** How many numbers an answer writes one by one; base64 takes a fraction of that. */
export function countNumbers(answer: unknown): number {
  if (typeof answer !== 'object' || answer === null) return 0;
  if (isNumbers(answer)) return answer.form === 'base64' ? answer.values.length / 4 : answer.values.length;
  return Object.values(answer).reduce((sum: number, each) => sum + countNumbers(each), 0);
}

/** The memory behind the numbers, to be handed over; each once. */
export function buffersOf(
  answer: unknown,
  found: Set<ArrayBuffer> = new Set<ArrayBuffer>(),
): Set<ArrayBuffer> {
  if (typeof answer !== 'object' || answer === null) return found;
  if (isNumbers(answer)) found.add(answer.values.buffer as ArrayBuffer);
  else for (const each of Object.values(answer)) buffersOf(each, found);
  return found;
}
