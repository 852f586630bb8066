import { concernOf, failureOf, SomeImagesFailed } from './exit-codes.js';
import type { ProgressReporter } from './progress.js';

/** What is told of an image that failed; this is also the JSON. */
export interface ImageFailure {
  readonly path: string;
  readonly error: { readonly code: string; readonly message: string };
}

/** What became of the images, up to the failure that ended the run, if one did. */
export interface ImageOutcomes<Report> {
  readonly done: readonly Report[];
  readonly failed: readonly ImageFailure[];
  /** Both, in the order in which it was known what became of them. */
  readonly all: readonly (Report | ImageFailure)[];
  readonly end: { readonly error: unknown } | null;
}

/** So many images that fail before one succeeds, for what may be each image's own, end a run. */
const mostUnclear = 2;

/** Does something with each image. One that fails for itself is told of, and the rest is done. */
export async function eachImage<Report>(
  images: readonly string[],
  { progress, signal }: { readonly progress: ProgressReporter; readonly signal: AbortSignal },
  work: (path: string, index: number) => Promise<Report>,
): Promise<ImageOutcomes<Report>> {
  const done: Report[] = [];
  const failed: ImageFailure[] = [];
  const all: (Report | ImageFailure)[] = [];
  const unclear: { readonly path: string; readonly error: unknown }[] = [];
  const fail = (path: string, error: unknown) => {
    const failure = { path, error: failureOf(error) };
    failed.push(failure);
    all.push(failure);
    progress.failed(path, error as Error);
  };
  let end: ImageOutcomes<Report>['end'] = null;
  try {
    for (const [index, path] of images.entries()) {
      try {
        signal.throwIfAborted();
        const report = await work(path, index);
        for (const each of unclear.splice(0)) fail(each.path, each.error);
        done.push(report);
        all.push(report);
      } catch (error) {
        const concern = concernOf(error);
        if (signal.aborted || concern === 'all') throw error;
        if (concern === 'image' || done.length > 0) fail(path, error);
        else if (unclear.push({ path, error }) === mostUnclear) break;
      }
    }
    const [first] = unclear;
    if (first) throw first.error;
  } catch (error) {
    end = { error };
  } finally {
    progress.stop();
  }
  return { done, failed, all, end };
}

/**
 * Ends a command as its images ended, with the exit code that is due.
 * @param json - what `--json` prints, to which the failure that ended the run is added; null without `--json`
 */
export function finish({ all, failed, end }: ImageOutcomes<unknown>, json: object | null): void {
  // Where the first image ended the run, there is nothing to tell but the error.
  if (json && (all.length > 0 || end === null))
    printJson(end ? { ...json, error: failureOf(end.error) } : json);
  if (end) throw end.error;
  if (failed.length > 0) throw new SomeImagesFailed();
}

/** What `--json` prints: one object, indented. */
export function printJson(value: object): void {
  console.log(JSON.stringify(value, null, 2));
}
