import type { ExecutionContext } from 'ava';
import { cacheContent } from './fake-libtorch.js';
import { rootUrl } from './root.js';

/** The URL of the module that finds LibTorch. */
export const resolver: string = rootUrl('scripts/libtorch/resolve.mjs');
type Resolver = typeof import('../../scripts/libtorch/resolve.mjs');
const { LibTorchNotFoundError, resolveLibTorch } = (await import(resolver)) as Resolver;

export { resolveLibTorch };

/** Expects that LibTorch is not found and nothing stays in the cache; returns the message. */
export async function failure(
  t: ExecutionContext,
  options: NonNullable<Parameters<Resolver['resolveLibTorch']>[0]>,
): Promise<string> {
  const error = await t.throwsAsync(resolveLibTorch({ officialArchive: null, ...options }), {
    instanceOf: LibTorchNotFoundError,
  });
  t.deepEqual(cacheContent(options.env?.GRADCAM_CACHE ?? ''), [], 'nothing is left in the cache');
  return error?.message ?? '';
}
