/**
 * What was asked for does not fit, in the words of whoever asked: of the command line, or of a sidecar's draft. Not one of
 * the library's codes.
 * @internal
 */
export class UsageError extends Error {
  readonly code = 'ERR_USAGE';
}
