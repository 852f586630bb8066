import type { NativeCallChoice, NativeExplainRequest, NativeSelector } from '../addon/addon.js';
import { argumentOutOfRange, GradCamError, invalidArgumentType } from '../errors/errors.js';
import { nearestNames } from '../errors/nearest-names.js';
import { readOptions } from '../errors/options.js';
import type { Layer } from './descriptions.js';
import type { OutputSelector } from './output.js';
import { checkSelector } from './output-selector.js';

/**
 * A layer to explain at: its path, and
 * - `call`: which call counts where the model calls it more than once: `'last'` (the default), the call's index (0 is the
 *   first), or `'all'`, which averages the maps of all calls;
 * - `output`: which tensor counts where the layer gives several, such as tokens and attention weights: a position in a
 *   tuple or list, the name of a named tuple's field, a dictionary's key, or an array of these. Default: the levels of a
 *   feature pyramid together, or the one tensor beside other things (an LSTM's states). Short: `'block[0]'` is
 *   `{ path: 'block', output: 0 }`.
 */
export type TargetLayer =
  | string
  | { readonly path: string; readonly call?: number | 'last' | 'all'; readonly output?: OutputSelector };

/**
 * @internal
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`
 * @throws {GradCamError} `ERR_UNKNOWN_LAYER` with the nearest names
 */
export function checkTargetLayers(
  targetLayers: unknown,
  model: { readonly frozen: boolean; layers(): readonly Layer[] },
): NativeExplainRequest['layers'] {
  const list: unknown[] = Array.isArray(targetLayers) ? targetLayers : [targetLayers];
  if (list.length === 0) throw argumentOutOfRange('targetLayers', 'at least one layer', 'an empty array');
  const paths = model.layers().map((layer) => layer.path);
  return list.map((entry, index) => {
    const name = `targetLayers[${index}]`;
    const given: LayerParts = typeof entry === 'string' ? parseLayer(entry) : readLayer(name, entry);
    // A frozen file has no names to compare with; the native side explains that.
    if (!model.frozen && !paths.includes(given.path)) throw unknownLayer(given.path, paths);
    return {
      path: given.path,
      call: checkCall(`${name}.call`, given.call ?? 'last'),
      output: [...checkSelector(given.output, `${name}.output`)],
    };
  });
}

interface LayerParts {
  readonly path: string;
  readonly call?: unknown;
  readonly output?: unknown;
}

/** `'block[1][0]'` as `{ path: 'block', output: [1, 0] }`. @internal */
export function parseLayer(text: string): { path: string; output?: NativeSelector } {
  const parts = /^([^[]+)((?:\[[^[\]]+\])+)$/.exec(text);
  if (!parts) return { path: text };
  const steps = [...(parts[2] ?? '').matchAll(/\[([^\]]+)\]/g)].map(([, step = '']) => step);
  return {
    path: parts[1] ?? text,
    output: steps.map((step) => (/^\d+$/.test(step) ? Number(step) : step)),
  };
}

/** The other way round. @internal */
export function spellLayer(path: string, output: OutputSelector | undefined): string {
  return (
    path +
    checkSelector(output)
      .map((step) => `[${step}]`)
      .join('')
  );
}

function readLayer(name: string, entry: unknown): LayerParts {
  if (typeof entry !== 'object' || entry === null) {
    throw invalidArgumentType(name, "a layer's path or { path, call, output }", entry);
  }
  const { path, call, output } = readOptions<LayerParts>(name, entry, ['path', 'call', 'output']);
  if (typeof path !== 'string') throw invalidArgumentType(`${name}.path`, 'a string', path);
  return { path, call, output };
}

function checkCall(name: string, call: unknown): NativeCallChoice {
  if (call === 'last' || call === 'all') return call;
  if (typeof call !== 'number') throw invalidArgumentType(name, "'last', 'all' or an index", call);
  if (!Number.isInteger(call) || call < 0 || call > 1e6)
    throw argumentOutOfRange(name, 'an integer of at least 0', call);
  return call;
}

function unknownLayer(path: string, paths: readonly string[]): GradCamError {
  const suggestions = nearestNames(path, paths);
  const hint =
    suggestions.length > 0
      ? `The nearest names: '${suggestions.join("', '")}'.`
      : 'The model has no layers at all.';
  return new GradCamError('ERR_UNKNOWN_LAYER', `The model has no layer '${path}'. ${hint}`, {
    details: { layer: path, suggestions },
  });
}
