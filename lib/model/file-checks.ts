import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import type { NativeLoadOptions } from '../addon/addon.js';
import {
  argumentOutOfRange,
  GradCamError,
  type GradCamErrorCode,
  type GradCamErrorDetails,
  invalidArgumentType,
} from '../errors/errors.js';
import { ownOptions, readOptions } from '../errors/options.js';

// What can be asked of a model's file before LibTorch's loader, which trusts it, sees it.

/** @internal How the file is to be loaded, and what is asked of it first. */
export interface FileChecks extends NativeLoadOptions {
  readonly sha256?: string | undefined;
  readonly preflight?: boolean | { readonly timeout?: number } | undefined;
  readonly signal: AbortSignal | undefined;
}

/**
 * Checks a file as its options ask for, then runs `load`.
 * @internal
 */
export async function withFileChecks<T>(
  path: string,
  checks: FileChecks,
  load: () => Promise<T>,
): Promise<T> {
  const { sha256, preflight = false, signal, ...how } = ownOptions(checks);
  const timeout = checkPreflight(preflight);
  const expected = sha256 === undefined ? null : checkDigest(sha256);
  signal?.throwIfAborted();
  const before = expected === null ? null : await identify(path);
  if (expected !== null) await compareDigest(path, expected, signal);
  if (timeout !== null) await loadInChild(path, how, timeout, signal);
  const loaded = await load();
  if (before !== null && before !== (await identify(path))) {
    throw new GradCamError(
      'ERR_MODEL_CHECKSUM',
      `'${path}' was changed or replaced between the check of its SHA-256 and the end of its load.`,
      { details: { path } },
    );
  }
  return loaded;
}

/** Milliseconds that the process may take that tries the file first; null where none is asked for. */
function checkPreflight(preflight: unknown): number | null {
  if (typeof preflight === 'boolean') return preflight ? 60_000 : null;
  if (typeof preflight !== 'object' || preflight === null)
    throw invalidArgumentType('preflight', 'true, false or an object', preflight);
  const { timeout = 60_000 } = readOptions<{ timeout: unknown }>('preflight', preflight, ['timeout']);
  if (typeof timeout !== 'number') throw invalidArgumentType('preflight.timeout', 'a number', timeout);
  if (!(timeout >= 1 && timeout < 2 ** 31))
    throw argumentOutOfRange('preflight.timeout', 'milliseconds from 1 to 2147483647', timeout);
  return timeout;
}

function checkDigest(sha256: unknown): string {
  if (typeof sha256 !== 'string') throw invalidArgumentType('sha256', 'a string', sha256);
  if (!/^[0-9a-f]{64}$/i.test(sha256)) throw argumentOutOfRange('sha256', '64 hexadecimal digits', sha256);
  return sha256.toLowerCase();
}

/** Changes when the file is written to or another takes its place. */
async function identify(path: string): Promise<string> {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
    return [dev, ino, size, mtimeNs, ctimeNs].join(' ');
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

/**
 * Hexadecimal SHA-256 of a model's file; null for what is no file, such as a named pipe, of which nothing would ever come.
 * @throws {GradCamError} `ERR_MODEL_NOT_FOUND`, `ERR_MODEL_LOAD`
 * @internal
 */
export async function modelDigest(path: string, signal?: AbortSignal): Promise<string | null> {
  const hash = createHash('sha256');
  try {
    if (!(await stat(path)).isFile()) return null;
    await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash, {
      ...(signal ? { signal } : {}),
    });
  } catch (cause) {
    signal?.throwIfAborted();
    throw unreadable(path, cause);
  }
  return hash.digest('hex');
}

async function compareDigest(path: string, expected: string, signal: AbortSignal | undefined): Promise<void> {
  const actual = await modelDigest(path, signal);
  // LibTorch's loader says what is wrong with what is no file.
  if (actual === null || actual === expected) return;
  throw new GradCamError(
    'ERR_MODEL_CHECKSUM',
    `'${path}' is not the pinned file: its SHA-256 is ${actual}, and ${expected} was asked for. ` +
      'Nothing was loaded. Copy the file again, or update the pin if the new file is meant.',
    { details: { path } },
  );
}

function unreadable(path: string, cause: unknown): GradCamError {
  const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
  return new GradCamError(
    missing ? 'ERR_MODEL_NOT_FOUND' : 'ERR_MODEL_LOAD',
    missing ? `There is no model file at '${path}'.` : `Cannot read '${path}': ${(cause as Error).message}`,
    { cause, details: { path } },
  );
}

/** @internal What the child process writes to its standard output. */
export type PreflightReport =
  | { ok: true }
  | { code: GradCamErrorCode; message: string; details: GradCamErrorDetails };

const preflightScript = fileURLToPath(new URL('./preflight.js', import.meta.url));

/** Loads the file in a process that may crash, or hang. */
function loadInChild(
  path: string,
  how: NativeLoadOptions,
  timeout: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const options = {
      env: { ...process.env, OMP_NUM_THREADS: '1' },
      killSignal: 'SIGKILL', // a loader that hangs hears nothing else
      ...(signal ? { signal } : {}),
    } as const;
    const fail = (problem: string, cause: unknown) =>
      reject(
        new GradCamError(
          'ERR_MODEL_LOAD',
          `Cannot load '${path}': ${problem}. The file is damaged, or made to do harm; copy or export it again.`,
          { cause, details: { path } },
        ),
      );
    let tookTooLong = false;
    // Arguments, which JSON may not hold, are checked where the model stays.
    const { arguments: _, ...ofFile } = how;
    const command = [preflightScript, path, JSON.stringify(ofFile)];
    const child = execFile(process.execPath, command, options, (error, stdout) => {
      clearTimeout(timer);
      if (signal?.aborted) return reject(signal.reason);
      if (tookTooLong)
        return fail(
          `LibTorch's loader did not come to its end within ${timeout / 1000} s in the process that tried the file ` +
            'first (for a large file or a slow disk raise the limit: preflight: { timeout })',
          error,
        );
      const report = parseReport(stdout);
      if (report !== null && 'ok' in report) return resolve();
      if (report !== null)
        return reject(
          new GradCamError(report.code, report.message, { details: { ...report.details, path } }),
        );
      const ending =
        child.signalCode ?? `exit code ${child.exitCode ?? (error as NodeJS.ErrnoException | null)?.code}`;
      fail(`LibTorch's loader crashed on it (${ending}) in the process that tried it first`, error);
    });
    const timer = setTimeout(() => {
      tookTooLong = true;
      child.kill('SIGKILL');
    }, timeout);
  });
}

function parseReport(stdout: string): PreflightReport | null {
  try {
    return JSON.parse(stdout) as PreflightReport;
  } catch {
    return null;
  }
}
