import { GradCamError, type GradCamErrorCode, type GradCamErrorDetails } from '../../errors/errors.js';

/** An error as plain data. */
export interface Failure {
  readonly message: string;
  readonly code: string | undefined;
  readonly details: GradCamErrorDetails | undefined;
  readonly stack: string | undefined;
}

export function packError(error: unknown): Failure {
  const { message, code, stack, details } = error as Error & Partial<Failure>;
  return { message, code, stack, details: error instanceof GradCamError ? details : undefined };
}

/** The error that {@link packError} described. */
export function unpackError({ message, code, details, stack }: Failure): Error {
  const error = details
    ? new GradCamError(code as GradCamErrorCode, message, { details })
    : Object.assign(new Error(message), code === undefined ? {} : { code });
  if (stack !== undefined) error.stack = stack;
  return error;
}
