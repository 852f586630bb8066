import { GradCamError } from '../../errors/errors.js';

/** What the process ends with; the texts are shown by --help. */
export const exitCodes = {
  ok: 0,
  someImagesFailed: 1,
  wrongUsage: 2,
  cannotRun: 3,
  unexpected: 4,
  interrupted: 130,
  readerGone: 141,
} as const;

export const exitCodesHelp = `
Exit codes:
  0    all went well
  1    some images could not be explained; the others were
  2    wrong usage: an option, a layer, a class or a path that does not fit
  3    the model, LibTorch, the device or Redis cannot be used
  4    a result cannot be written, or something else that was not expected
  130  interrupted with Ctrl-C
  141  whoever read the output went away, as in \`| head\``;

/** Some images failed and that was told: only the exit code is still to say it. */
export class SomeImagesFailed extends Error {}

/** Why a run is interrupted where nobody reads its output any more. */
export class ReaderGone extends Error {
  readonly code = 'EPIPE';
}

export function isReaderGone(error: unknown): boolean {
  return (error as { code?: unknown } | null)?.code === 'EPIPE';
}

const usageCodes = new Set([
  'ERR_USAGE',
  'ERR_INVALID_ARG_TYPE',
  'ERR_OUT_OF_RANGE',
  'ERR_UNKNOWN_OPTION',
  'ERR_MODEL_ARGUMENTS',
  'ERR_UNKNOWN_LAYER',
  'ERR_UNKNOWN_LABEL',
  'ERR_PROMPT_TOO_LONG',
  'ERR_CLASS_OUT_OF_RANGE',
  'ERR_LAYER_NOT_CALLED',
  'ERR_LAYER_OUTPUT',
  'ERR_LAYER_DISCONNECTED',
  'ERR_OUTPUT_SELECTOR',
  'ERR_SERVER_CONFIG',
]);

/** Of one image whenever they come. */
const imageCodes = new Set(['ERR_IMAGE_LOAD', 'ERR_NO_DETECTION', 'ERR_INPUT_NOT_FINITE']);

/** Of every image to come, whatever came before. */
const lastingCodes = new Set([
  'ERR_ADDON_LOAD',
  'ERR_DISPOSED',
  'ERR_CUDA_UNAVAILABLE',
  'ERR_CUDA_FAILED',
  'ERR_INTERNAL',
]);

function isUsageFailure(error: unknown): boolean {
  return usageCodes.has((error as { code?: string }).code ?? '');
}

/**
 * Whether a failure is one image's own, or one that every further image would meet as well, such as a full disk. Of the rest, a
 * wrong class or what the model refuses, other images tell: where it takes one, it was the image's own.
 */
export function concernOf(error: unknown): 'image' | 'all' | 'unclear' {
  if (!(error instanceof GradCamError) || lastingCodes.has(error.code)) return 'all';
  return imageCodes.has(error.code) ? 'image' : 'unclear';
}

/** For JSON. */
export function failureOf(error: unknown): { code: string; message: string } {
  const { code = 'ERR_INTERNAL', message = String(error) } = Object(error) as Error & { code?: unknown };
  return { code: String(code), message };
}

/** "error: message (CODE)", and with GRADCAM_DEBUG=1 the stack. */
export function reportError(error: unknown): void {
  const { code, message, stack } = error as Error & { code?: string };
  console.error(`error: ${message}${code && code !== 'ERR_USAGE' ? ` (${code})` : ''}`);
  if (process.env.GRADCAM_DEBUG === '1') console.error(stack);
}

export function exitCodeOf(error: unknown): number {
  if (isUsageFailure(error)) return exitCodes.wrongUsage;
  return error instanceof GradCamError ? exitCodes.cannotRun : exitCodes.unexpected;
}
