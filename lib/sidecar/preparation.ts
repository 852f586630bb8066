import type { LoadImageOptions } from '../image/options.js';

/**
 * How pictures are prepared, with what is asked for instead. Another size makes the shorter side meaningless, another fit
 * that and the bars' colour.
 * @internal
 */
export function adjusted<Base extends Omit<LoadImageOptions, 'size'>>(
  base: Base,
  asked: LoadImageOptions,
): Base & LoadImageOptions {
  const { resize, paddingColor, ...rest } = base;
  const usual = base.fit ?? 'crop';
  const fit = asked.fit ?? usual;
  const isResizeMeant = resize !== undefined && asked.size === undefined && fit === usual;
  return {
    ...(rest as Base),
    ...(isResizeMeant ? { resize } : {}),
    ...(paddingColor === undefined || fit !== 'contain' ? {} : { paddingColor }),
    ...asked,
    fit,
  };
}
