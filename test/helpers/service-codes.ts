/** Codes that only the server and batches raise: test/services/error-codes.test.ts has a row for each. */
export const serviceCodes = [
  'ERR_INVALID_REQUEST',
  'ERR_NOT_FOUND',
  'ERR_METHOD_NOT_ALLOWED',
  'ERR_UNKNOWN_MODEL',
  'ERR_MODEL_NOT_READY',
  'ERR_MODEL_CONTROL',
  'ERR_HOST_NOT_ALLOWED',
  'ERR_ORIGIN_NOT_ALLOWED',
  'ERR_RATE_LIMITED',
  'ERR_DEADLINE_EXCEEDED',
  'ERR_CLIENT_GONE',
  'ERR_SERVER_CONFIG',
  'ERR_REDIS',
  'ERR_BATCH_FOLDER',
  'ERR_BATCH_CHANGED',
  'ERR_BATCH_MODEL',
  'ERR_BATCH_VERSION',
] as const;

export type ServiceCode = (typeof serviceCodes)[number];
