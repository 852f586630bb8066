import type { NativeReshape } from '../addon/addon.js';
import { argumentOutOfRange, invalidArgumentType } from '../errors/errors.js';
import { readOptions } from '../errors/options.js';

/**
 * How the output of a target layer becomes `[B, C, ...space]`, where it is not already:
 * - `{ kind: 'tokens' }` for `[B, tokens, C]` of vision transformers. `prefixTokens` come before those of the image
 *   (class, distillation, registers), `grid` is places along each axis, `[height, width]`. What is left out is found: the
 *   largest grid of the image's shape, and as prefix what remains, 16 tokens at most.
 *   `batchFirst: false` is for `[tokens, B, C]`, as in OpenAI's CLIP.
 * - `{ kind: 'nhwc' }`, or `'nhwc'` for short, for `[B, ...space, C]`, as in Swin. Taken by itself where the weights in the
 *   layer tell.
 * - `{ kind: 'nchw' }`, or `'nchw'` for short: `[B, C, ...space]` it is, whatever the weights in the layer tell.
 * - `{ kind: 'featurePyramid' }`, or `'featurePyramid'` for short, for a layer that gives several maps, as the backbone
 *   of torchvision's Faster R-CNN: a dictionary (list, tuple) of `[B, C, H, W]`. It is the default where the maps are in
 *   order of size. For methods without gradients the magnitudes of all levels are resized to the smallest level (to the
 *   finest, where the smallest has one place along an axis) and joined, as pytorch-grad-cam's
 *   `fasterrcnn_reshape_transform` does; for methods with gradients each level is weighted by its own gradient, and what
 *   that gives is resized to the finest level and joined. One level alone is the `output` of a `TargetLayer`.
 */
export type ReshapeTransform =
  | 'tokens'
  | 'nhwc'
  | 'nchw'
  | 'featurePyramid'
  | {
      readonly kind: 'tokens';
      readonly prefixTokens?: number;
      readonly grid?: readonly number[];
      readonly batchFirst?: boolean;
    }
  | { readonly kind: 'nhwc' }
  | { readonly kind: 'nchw' }
  | { readonly kind: 'featurePyramid' };

/** @internal */
export function checkReshapeTransform(value: unknown): NativeReshape | null {
  if (value === undefined || value === null) return null;
  const given = typeof value === 'string' ? { kind: value } : value;
  const {
    kind,
    prefixTokens,
    grid,
    batchFirst = true,
  } = readOptions<{
    kind?: unknown;
    prefixTokens?: unknown;
    grid?: unknown;
    batchFirst?: unknown;
  }>('reshapeTransform', given, ['kind', 'prefixTokens', 'grid', 'batchFirst']);
  if (kind === 'nhwc' || kind === 'nchw' || kind === 'featurePyramid') return { kind };
  if (kind !== 'tokens')
    throw invalidArgumentType('reshapeTransform.kind', "'tokens', 'nhwc', 'nchw' or 'featurePyramid'", kind);
  if (typeof batchFirst !== 'boolean')
    throw invalidArgumentType('reshapeTransform.batchFirst', 'true or false', batchFirst);
  if (prefixTokens !== undefined) checkCount('reshapeTransform.prefixTokens', prefixTokens, 0);
  if (grid !== undefined) {
    if (!Array.isArray(grid) || grid.length < 1 || grid.length > 3)
      throw invalidArgumentType('reshapeTransform.grid', 'an array such as [14, 14]', grid);
    for (const [axis, places] of grid.entries()) checkCount(`reshapeTransform.grid[${axis}]`, places, 1);
  }
  return {
    kind,
    prefixTokens: (prefixTokens as number | undefined) ?? null,
    grid: (grid as number[] | undefined) ?? null,
    batchFirst,
  };
}

function checkCount(name: string, value: unknown, least: number): void {
  if (typeof value !== 'number') throw invalidArgumentType(name, 'a number', value);
  if (!Number.isInteger(value) || value < least || value > 1e6)
    throw argumentOutOfRange(name, `an integer of at least ${least}`, value);
}
