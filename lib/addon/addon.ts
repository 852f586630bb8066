import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { GradCamError, type GradCamErrorCode, type GradCamErrorDetails } from '../errors/errors.js';
import { unlessAborted } from '../errors/options.js';
import type { CancellationReference, NativeModule } from './types.js';

export type * from './types.js';

/** The only file that imports the `.node`. Nothing here is public. */

/** The package's root, from lib/ as well as from dist/lib/. */
function findPackageRoot(): string {
  const start = dirname(fileURLToPath(import.meta.url));
  for (let folder = start; ; folder = dirname(folder)) {
    if (isOurs(join(folder, 'package.json'))) return folder;
    if (folder !== dirname(folder)) continue;
    throw new GradCamError(
      'ERR_ADDON_LOAD',
      `node-gradcam runs from ${start}, which is not within its package, so that its native addon cannot be found. ` +
        "If a bundler put it there, leave it out of the bundle: mark 'node-gradcam' as external, and install it where the bundle runs.",
      { details: { path: start } },
    );
  }
}

function isOurs(file: string): boolean {
  try {
    return (JSON.parse(readFileSync(file, 'utf8')) as { name?: unknown }).name === 'node-gradcam';
  } catch {
    return false; // not there, or of no package
  }
}

/** @internal */
export const packageRoot = findPackageRoot();

/** @internal */
export const addonPath = join(packageRoot, 'build', 'cmake', 'gradcam.node');

/** What the install script wrote about the LibTorch it built against. */
export interface LibTorchRecord {
  root: string;
  version: string;
  source: string;
  /** The versions of LibTorch that all tests of this package pass with. */
  testedVersions?: string[];
}

/** @internal */
export function readLibTorchRecord(): LibTorchRecord | null {
  try {
    return JSON.parse(readFileSync(join(packageRoot, 'build', 'libtorch.json'), 'utf8')) as LibTorchRecord;
  } catch {
    return null;
  }
}

let loaded: NativeModule | undefined;

/**
 * The native module, loaded on first use so that importing the package costs nothing.
 * @throws {GradCamError} `ERR_ADDON_LOAD` when the addon was not built or LibTorch moved.
 */
export function native(): NativeModule {
  loaded ??= loadAddon();
  return loaded;
}

function loadAddon(): NativeModule {
  if (!existsSync(addonPath)) {
    throw new GradCamError(
      'ERR_ADDON_LOAD',
      `The native addon is missing: ${addonPath} does not exist.\n` +
        'Build it with: npm rebuild node-gradcam (in a clone: npm run build). ' +
        'If install scripts are switched off (--ignore-scripts), allow them for this package.',
      { details: { path: addonPath } },
    );
  }
  try {
    const module = createRequire(import.meta.url)(addonPath) as NativeModule;
    // A job that still computes while process.exit() tears LibTorch down would crash.
    process.once('exit', () => module.close());
    return module;
  } catch (cause) {
    const record = readLibTorchRecord();
    const from = record
      ? `LibTorch ${record.version} at ${record.root} (${record.source})`
      : 'an unknown LibTorch';
    throw new GradCamError(
      'ERR_ADDON_LOAD',
      `The native addon was found but could not be loaded: ${(cause as Error).message}\n` +
        (/undefined symbol/.test((cause as Error).message)
          ? 'Another version of LibTorch was loaded: check LD_LIBRARY_PATH and LD_PRELOAD, and whether another ' +
            'library of this process brought its own.\n'
          : '') +
        `It was built against ${from}. If that folder moved or was removed, find or fetch LibTorch again with: ` +
        'npm rebuild node-gradcam (in a clone: npm run build). "gradcam doctor" shows what is found.',
      { cause, details: { path: addonPath } },
    );
  }
}

interface NativeFailure extends Error {
  gradcamCode?: GradCamErrorCode;
  details?: GradCamErrorDetails;
}

/** A failure of the native module as a public error; its stack is the caller's, not a worker thread's. */
function publicError(failure: unknown, callSite: Error): unknown {
  const { gradcamCode: code, message, details } = failure as NativeFailure;
  if (code === undefined) return failure;
  const error = new GradCamError(code, message, details ? { details } : {});
  const frames = callSite.stack?.split('\n').slice(2).join('\n');
  if (frames) error.stack = `${error.name}: ${error.message}\n${frames}`;
  return error;
}

/** Runs a synchronous native call and turns its failure into a {@link GradCamError}. */
export function callNative<T>(call: (module: NativeModule) => T): T {
  const module = native();
  try {
    return call(module);
  } catch (failure) {
    throw publicError(failure, new Error());
  }
}

/**
 * Runs an asynchronous native call. When `signal` aborts, the promise rejects at once with the signal's reason; the
 * job is told to stop at its next stage and its result is dropped.
 */
export async function callNativeAsync<T>(
  signal: AbortSignal | undefined,
  call: (module: NativeModule, cancellation: CancellationReference) => Promise<T>,
): Promise<T> {
  const callSite = new Error();
  const module = native();
  try {
    return await unlessAborted(signal, (onAbort) => {
      const cancellation = module.createCancellation();
      onAbort(() => module.cancel(cancellation));
      return call(module, cancellation);
    });
  } catch (failure) {
    throw publicError(failure, callSite);
  }
}
