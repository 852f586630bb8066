import * as library from 'node-gradcam';
import { BaseCAM, type CAMOptions } from 'node-gradcam';

type Method = new (options: CAMOptions) => BaseCAM;

/** The library's methods by the names of their classes, which fixtures name too. */
export const methods: Readonly<Record<string, Method>> = Object.fromEntries(
  Object.entries(library).filter(
    ([, value]) => typeof value === 'function' && value.prototype instanceof BaseCAM,
  ),
) as Record<string, Method>;

/** A method with what all methods can be told; options of its own stay at their defaults. */
export function camOf(name: string, options: CAMOptions): BaseCAM {
  const Method = methods[name];
  if (Method === undefined) throw new Error(`A fixture with an unknown method: ${name}`);
  return new Method(options);
}
