import { invalidArgumentType } from '../../errors/errors.js';
import { ownOptions, readOptions } from '../../errors/options.js';
import { observeExplain } from '../../model/diagnostics.js';
import type { ModelInput } from '../../model/model.js';
import type { BaseCAM, CAMOptions } from '../base-cam.js';
import type { ExplainOptions } from '../explain-arguments.js';
import { checkExplainArguments } from '../explain-arguments.js';
import type { Explanation } from '../explanation.js';
import {
  checkMethodName,
  createCam,
  type MethodName,
  type MethodOptions,
  methodNames,
  methods,
} from './registry.js';

export interface CompareMethodsOptions extends CAMOptions {
  /** Names of the methods. */
  readonly methods: readonly MethodName[];
  /** Of methods that are compared, by name, what each takes beside what all do. Default: their defaults. */
  readonly options?: { readonly [Name in MethodName]?: MethodOptions<Name> };
}

/**
 * Explains by several methods. Those that allow it share one forward and one walk back per target, so that ten of them
 * cost hardly more than one. Each explanation is disposed of on its own.
 * @returns an explanation for each name, in the order of `methods`
 * @throws as {@link BaseCAM.explain}
 */
export async function compareMethods(
  options: CompareMethodsOptions,
  input: ModelInput,
  explainOptions?: ExplainOptions,
): Promise<Map<MethodName, Explanation>> {
  const { methods: given, options: own, ...camOptions } = ownOptions(options, 'compareMethods options');
  if (!Array.isArray(given) || given.length === 0)
    throw invalidArgumentType('methods', `some of '${methodNames.join("', '")}'`, given);
  const names = given.map((name) => checkMethodName(name, 'methods'));
  const ofMethods = readOptions<NonNullable<typeof own>>('options', own, names);
  const cams = new Map<MethodName, BaseCAM>();
  for (const method of names) cams.set(method, createCam(camOptions, { method, options: ofMethods[method] }));
  const { inputs, ...how } = checkExplainArguments(input, explainOptions);
  // The caller may dispose of the input, or change it, while the methods run one after the other.
  const parts = inputs.map((tensor) => [tensor.share()]);
  const found = new Map<MethodName, Explanation>();
  try {
    const sharing = [...cams].filter(([name]) => methods[name].shareable);
    const leader = sharing[0]?.[1];
    if (leader) {
      const together = sharing.map(([, cam]) => cam);
      const explanations = await observeExplain(leader.facts(together, parts), () =>
        leader.explainTogether(together, parts, how),
      );
      for (const [index, [name]] of sharing.entries()) found.set(name, explanations[index] as Explanation);
    }
    for (const [name, cam] of cams) {
      if (methods[name].shareable) continue;
      found.set(name, await observeExplain(cam.facts([cam], parts), () => cam.explainParts(parts, how)));
    }
    return new Map([...cams.keys()].map((name) => [name, found.get(name) as Explanation]));
  } catch (error) {
    for (const explanation of found.values()) explanation.dispose();
    throw error;
  } finally {
    for (const tensor of parts.flat()) tensor.dispose();
  }
}
