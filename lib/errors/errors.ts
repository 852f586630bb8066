/**
 * Every stable error code of the library. docs/errors.md describes each: what it means and what to do next.
 */
export type GradCamErrorCode =
  | 'ERR_ADDON_LOAD'
  | 'ERR_MODEL_NOT_FOUND'
  | 'ERR_MODEL_LOAD'
  | 'ERR_MODEL_CHECKSUM'
  | 'ERR_MODEL_FROZEN'
  | 'ERR_MISSING_OPERATOR'
  | 'ERR_OPERATOR_LIBRARY'
  | 'ERR_NO_FORWARD'
  | 'ERR_MODEL_ARGUMENTS'
  | 'ERR_UNKNOWN_LAYER'
  | 'ERR_NO_LAYER_SUGGESTION'
  | 'ERR_LAYER_NOT_CALLED'
  | 'ERR_LAYER_OUTPUT'
  | 'ERR_LAYER_DISCONNECTED'
  | 'ERR_INPUT_SHAPE'
  | 'ERR_INPUT_DTYPE'
  | 'ERR_INPUT_NOT_FINITE'
  | 'ERR_NOT_FINITE'
  | 'ERR_FORWARD'
  | 'ERR_OUTPUT_SELECTOR'
  | 'ERR_OUTPUT_SHAPE'
  | 'ERR_CLASS_OUT_OF_RANGE'
  | 'ERR_NO_DETECTION'
  | 'ERR_TARGET_COUNT'
  | 'ERR_TARGET_FUNCTION'
  | 'ERR_TENSOR_OPERATION'
  | 'ERR_PROMPT_TOO_LONG'
  | 'ERR_DISPOSED'
  | 'ERR_BUSY'
  | 'ERR_CUDA_UNAVAILABLE'
  | 'ERR_CUDA_FAILED'
  | 'ERR_OUT_OF_MEMORY'
  | 'ERR_TOO_LARGE'
  | 'ERR_IMAGE_LOAD'
  | 'ERR_SIDECAR'
  | 'ERR_UNKNOWN_LABEL'
  | 'ERR_UNSUPPORTED'
  | 'ERR_INVALID_REQUEST'
  | 'ERR_NOT_FOUND'
  | 'ERR_METHOD_NOT_ALLOWED'
  | 'ERR_UNKNOWN_MODEL'
  | 'ERR_MODEL_NOT_READY'
  | 'ERR_MODEL_CONTROL'
  | 'ERR_HOST_NOT_ALLOWED'
  | 'ERR_ORIGIN_NOT_ALLOWED'
  | 'ERR_RATE_LIMITED'
  | 'ERR_DEADLINE_EXCEEDED'
  | 'ERR_CLIENT_GONE'
  | 'ERR_SERVER_CONFIG'
  | 'ERR_REDIS'
  | 'ERR_BATCH_FOLDER'
  | 'ERR_BATCH_CHANGED'
  | 'ERR_BATCH_MODEL'
  | 'ERR_BATCH_VERSION'
  | 'ERR_INTERNAL';

/** Facts that belong to an error, for programs that handle it. Which are set depends on the code. */
export interface GradCamErrorDetails {
  /** The layer path in question. */
  readonly layer?: string;
  /** The nearest existing names, best first. */
  readonly suggestions?: readonly string[];
  /** Names that could have been used instead. */
  readonly available?: readonly string[];
  /** The file in question. */
  readonly path?: string;
  /** The missing operator, `'torchvision::nms'`. */
  readonly operator?: string;
}

/**
 * A failure of the library: a model, an input or the machine did not allow what was asked.
 * `code` is stable across versions, `cause` is the original failure where there is one, and the message says what
 * to do next. Wrong use of the API (a string where a number belongs) is a `TypeError` or `RangeError` with a `code`
 * instead, see {@link invalidArgumentType} and {@link argumentOutOfRange}.
 */
export class GradCamError extends Error {
  readonly code: GradCamErrorCode;
  readonly details: GradCamErrorDetails;

  constructor(
    code: GradCamErrorCode,
    message: string,
    options: { readonly cause?: unknown; readonly details?: GradCamErrorDetails } = {},
  ) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined);
    this.code = code;
    this.details = options.details ?? {};
  }

  static {
    Object.defineProperty(GradCamError.prototype, 'name', {
      value: 'GradCamError',
      configurable: true,
      writable: true,
    });
  }
}

function describeValue(value: unknown): string {
  if (typeof value === 'string')
    return `'${value.length > 60 ? `${value.slice(0, 57)}...` : value}' (string)`;
  if (typeof value === 'bigint' || typeof value === 'number' || typeof value === 'boolean') {
    return `${String(value)} (${typeof value})`;
  }
  if (value === null || value === undefined) return String(value);
  if (typeof value === 'function') return `function ${value.name}`.trim();
  const name = (value as object).constructor?.name;
  return name ? `an instance of ${name}` : 'an object';
}

/**
 * A `TypeError` with code `ERR_INVALID_ARG_TYPE`: "Expected a number for imageWeight, but received 'x' (string)."
 * @internal
 */
export function invalidArgumentType(
  name: string,
  expected: string,
  actual: unknown,
): TypeError & { code: string } {
  const error = new TypeError(`Expected ${expected} for ${name}, but received ${describeValue(actual)}.`);
  return Object.assign(error, { code: 'ERR_INVALID_ARG_TYPE' });
}

/**
 * A `RangeError` with code `ERR_OUT_OF_RANGE`.
 * @internal
 */
export function argumentOutOfRange(
  name: string,
  expected: string,
  actual: unknown,
): RangeError & { code: string } {
  const error = new RangeError(`Expected ${expected} for ${name}, but received ${describeValue(actual)}.`);
  return Object.assign(error, { code: 'ERR_OUT_OF_RANGE' });
}
