import type { ModelArgument, ModelArguments } from '../addon/addon.js';
import { argumentOutOfRange, invalidArgumentType } from '../errors/errors.js';
import { ownOptions } from '../errors/options.js';

export type { ModelArgument, ModelArguments };

/** @internal Arguments as the native module takes them. */
export interface CheckedArguments {
  /** Copies, with objects that have no prototype. */
  readonly given: ModelArguments;
  /** Equal for equal arguments. */
  readonly key: string;
}

const deepest = 32;
const leastInteger = -(2n ** 63n);
const mostInteger = 2n ** 63n - 1n;

/**
 * What a caller gives as `arguments`, copied: later changes do not show. Whether the model has such parameters, and of
 * which types, the native side tells.
 * @internal
 */
export function checkArguments(value: unknown): CheckedArguments {
  if (value === undefined) return { given: Object.create(null), key: '{}' };
  if (!isPlainObject(value)) throw invalidArgumentType('arguments', 'an object', value);
  const entries = Object.entries(ownOptions(value)).filter(([, argument]) => argument !== undefined);
  entries.sort(([a], [b]) => (a < b ? -1 : 1)); // their order means nothing, that of a dictionary's does
  return checkObject(Object.fromEntries(entries), 'arguments', []) as CheckedArguments;
}

interface Checked {
  readonly given: ModelArgument;
  readonly key: string;
}

function check(value: unknown, name: string, outer: readonly object[]): Checked {
  switch (typeof value) {
    case 'string':
      return { given: value, key: JSON.stringify(value) };
    case 'number':
      return { given: value, key: Object.is(value, -0) ? '-0' : String(value) };
    case 'boolean':
      return { given: value, key: String(value) };
    case 'bigint':
      if (value < leastInteger || value > mostInteger)
        throw argumentOutOfRange(name, 'an integer of 64 bits', value);
      return { given: value, key: `${value}n` };
  }
  if (value === null) return { given: null, key: 'null' };
  if (Array.isArray(value)) {
    const inner = within(value, name, outer);
    const elements = Array.from(value, (each, index) => check(each, `${name}[${index}]`, inner));
    return {
      given: elements.map(({ given }) => given),
      key: `[${elements.map(({ key }) => key).join(',')}]`,
    };
  }
  if (isPlainObject(value)) return checkObject(value, name, outer);
  throw invalidArgumentType(
    name,
    'a number, bigint, boolean, string, null, array or object (tensors are inputs, beside the image)',
    value,
  );
}

function checkObject(value: object, name: string, outer: readonly object[]): Checked {
  const inner = within(value, name, outer);
  const given: Record<string, ModelArgument> = Object.create(null);
  const keys: string[] = [];
  for (const [key, each] of Object.entries(value)) {
    if (/\p{Surrogate}/u.test(key)) throw argumentOutOfRange(`a name in ${name}`, 'whole characters', key);
    const checked = check(each, `${name}.${key}`, inner);
    given[key] = checked.given;
    keys.push(`${JSON.stringify(key)}:${checked.key}`);
  }
  return { given, key: `{${keys.join(',')}}` };
}

function within(value: object, name: string, outer: readonly object[]): readonly object[] {
  if (outer.includes(value)) throw invalidArgumentType(name, 'a value that does not hold itself', value);
  if (outer.length >= deepest)
    throw argumentOutOfRange(name, `at most ${deepest} levels of arrays and objects`, value);
  return [...outer, value];
}

function isPlainObject(value: unknown): value is object {
  if (typeof value !== 'object' || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}
