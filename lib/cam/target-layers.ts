import { argumentOutOfRange, GradCamError, invalidArgumentType } from '../errors.js';
import type { Model } from '../model.js';
import type { NativeCallChoice, NativeExplainRequest } from '../native.js';
import { nearestNames } from '../nearest-names.js';
import { readOptions } from '../options.js';

/**
 * A layer to explain at: its path, and which call counts where the model calls it more than once: `'last'` (the
 * default), the call's index (0 is the first), or `'all'`, which averages the maps of all calls.
 */
export type TargetLayer = string | { readonly path: string; readonly call?: number | 'last' | 'all' };

/**
 * @internal
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`
 * @throws {GradCamError} `ERR_UNKNOWN_LAYER` with the nearest names
 */
export function checkTargetLayers(targetLayers: unknown, model: Model): NativeExplainRequest['layers'] {
  const list: unknown[] = Array.isArray(targetLayers) ? targetLayers : [targetLayers];
  if (list.length === 0) throw argumentOutOfRange('targetLayers', 'at least one layer', 'an empty array');
  const paths = model.layers().map((layer) => layer.path);
  return list.map((entry, index) => {
    const name = `targetLayers[${index}]`;
    const given = typeof entry === 'string' ? { path: entry } : readLayer(name, entry);
    // A frozen file has no names to compare with; the native side explains that.
    if (!model.frozen && !paths.includes(given.path)) throw unknownLayer(given.path, paths);
    return { path: given.path, call: checkCall(`${name}.call`, given.call ?? 'last') };
  });
}

function readLayer(name: string, entry: unknown): { path: string; call?: unknown } {
  if (typeof entry !== 'object' || entry === null) {
    throw invalidArgumentType(name, "a layer's path or { path, call }", entry);
  }
  const { path, call } = readOptions<{ path: string; call?: unknown }>(name, entry, ['path', 'call']);
  if (typeof path !== 'string') throw invalidArgumentType(`${name}.path`, 'a string', path);
  return { path, call };
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
