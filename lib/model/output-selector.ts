import { invalidArgumentType } from '../errors/errors.js';

/** @internal The way to the explained part of an output, outermost first. */
export function checkSelector(output: unknown, name = 'output'): readonly (string | number)[] {
  if (output === undefined) return [];
  const steps: unknown[] = Array.isArray(output) ? output : [output];
  for (const step of steps) {
    const valid = typeof step === 'string' || (Number.isSafeInteger(step) && (step as number) >= 0);
    if (!valid) throw invalidArgumentType(name, 'a key, a position, or an array of these', step);
  }
  return steps as (string | number)[];
}
