import { invalidArgumentType } from '../../errors/errors.js';
import { ownOptions } from '../../errors/options.js';
import { observeExplain } from '../../model/diagnostics.js';
import type { ModelInput } from '../../model/model.js';
import type { BaseCAM, CAMOptions } from '../base-cam.js';
import type { ExplainOptions } from '../explain-arguments.js';
import { checkExplainArguments } from '../explain-arguments.js';
import type { Explanation } from '../explanation.js';
import { type MethodName, methods } from './registry.js';

export interface CompareMethodsOptions extends CAMOptions {
  /** Names of the methods, each with its defaults. */
  readonly methods: readonly MethodName[];
}

/**
 * Explains by several methods. Those that allow it share one forward and one walk back per target, so that ten of them
 * cost hardly more than one. The model's outputs are shared too: disposing of one explanation disposes of them.
 * @returns an explanation for each name, in the order of `methods`
 * @throws as {@link BaseCAM.explain}
 */
export async function compareMethods(
  options: CompareMethodsOptions,
  input: ModelInput,
  explainOptions?: ExplainOptions,
): Promise<Map<MethodName, Explanation>> {
  const { methods: names, ...camOptions } = ownOptions(options, 'compareMethods options');
  if (!Array.isArray(names) || names.length === 0)
    throw invalidArgumentType('methods', `some of '${Object.keys(methods).join("', '")}'`, names);
  const cams = new Map<MethodName, BaseCAM>();
  for (const name of names) {
    if (!Object.hasOwn(methods, name))
      throw invalidArgumentType('methods', `some of '${Object.keys(methods).join("', '")}'`, name);
    cams.set(name, new methods[name as MethodName](camOptions));
  }
  const { inputs, ...how } = checkExplainArguments(input, explainOptions);
  // The caller may dispose of the input, or change it, while the methods run one after the other.
  const parts = inputs.map((tensor) => [tensor.share()]);
  try {
    const found = new Map<MethodName, Explanation>();
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
  } finally {
    for (const tensor of parts.flat()) tensor.dispose();
  }
}
