import { randomUUID } from 'node:crypto';
import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { hasZodFastifySchemaValidationErrors } from 'fastify-type-provider-zod';
import { GradCamError } from '../../errors/errors.js';
import { hideEveryPlace } from './private-places.js';

const statusOfCode: Readonly<Record<string, number>> = {
  ERR_INVALID_ARG_TYPE: 400,
  ERR_OUT_OF_RANGE: 400,
  ERR_UNKNOWN_OPTION: 400,
  ERR_INVALID_REQUEST: 400,
  ERR_MODEL_ARGUMENTS: 400,
  ERR_UNKNOWN_LAYER: 400,
  ERR_UNKNOWN_LABEL: 400,
  ERR_NO_LAYER_SUGGESTION: 400,
  ERR_LAYER_NOT_CALLED: 400,
  ERR_LAYER_OUTPUT: 400,
  ERR_LAYER_DISCONNECTED: 400,
  ERR_INPUT_SHAPE: 400,
  ERR_INPUT_DTYPE: 400,
  ERR_INPUT_NOT_FINITE: 400,
  ERR_NOT_FINITE: 422,
  ERR_TOO_LARGE: 422,
  ERR_CLASS_OUT_OF_RANGE: 400,
  ERR_NO_DETECTION: 400,
  ERR_PROMPT_TOO_LONG: 400,
  ERR_TARGET_COUNT: 400,
  ERR_IMAGE_LOAD: 400,
  ERR_OUTPUT_SHAPE: 400,
  ERR_OUTPUT_SELECTOR: 400,
  ERR_MODEL_CONTROL: 403,
  ERR_HOST_NOT_ALLOWED: 403,
  ERR_ORIGIN_NOT_ALLOWED: 403,
  ERR_RATE_LIMITED: 429,
  ERR_NOT_FOUND: 404,
  ERR_UNKNOWN_MODEL: 404,
  ERR_METHOD_NOT_ALLOWED: 405,
  ERR_CLIENT_GONE: 499,
  ERR_UNSUPPORTED: 501,
  ERR_BUSY: 503,
  ERR_MODEL_NOT_READY: 503,
  ERR_DISPOSED: 503,
  ERR_OUT_OF_MEMORY: 503,
  ERR_CUDA_FAILED: 503,
  ERR_DEADLINE_EXCEEDED: 504,
};

/** What clients are told of a failure: never a stack, and nothing at all of our own defects but the request's id. */
export interface HttpFailure {
  readonly status: number;
  readonly body: { readonly error: string; readonly code: string; readonly request_id: string };
}

export function describeFailure(
  error: unknown,
  requestId: string,
  hidePlaces: (text: string) => string = hideEveryPlace,
): HttpFailure {
  const { code, message, statusCode, validation } = error as FastifyError;
  const failure = (status: number, text: string, name: string): HttpFailure => ({
    status,
    body: { error: hidePlaces(text), code: name, request_id: requestId },
  });
  if (hasZodFastifySchemaValidationErrors(error)) {
    const where = error.validationContext ?? 'request';
    const problems = error.validation.map(({ instancePath, message: problem }) => {
      const key = instancePath.replace(/^\//, '').replaceAll('/', '.');
      return `${key === '' ? where : key}: ${problem}`;
    });
    return failure(400, `The ${where} is not valid: ${problems.join('; ')}.`, 'ERR_INVALID_REQUEST');
  }
  if (validation) return failure(400, message, 'ERR_INVALID_REQUEST');
  const own = statusOfCode[code ?? ''] === undefined ? undefined : (statusCode ?? statusOfCode[code ?? '']);
  if (own !== undefined && (error instanceof GradCamError || code?.startsWith('ERR_')))
    return failure(own, message, code);
  // Fastify's and its plugins' own: too large, of a wrong media type, too many, not authorised. Their codes are not ours.
  if (statusCode === 503) return failure(statusCode, message, 'ERR_BUSY');
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500)
    return failure(statusCode, message, 'ERR_INVALID_REQUEST');
  if (error instanceof GradCamError && error.code !== 'ERR_INTERNAL') {
    // A model's failure, which may name any file that was looked for.
    const { path } = error.details;
    const told = path === undefined ? message : message.replaceAll(path, 'the model');
    return failure(500, hideEveryPlace(hidePlaces(told)), error.code);
  }
  return failure(
    500,
    "This is a defect of the server, which its log tells more of, under the request's id.",
    'ERR_INTERNAL',
  );
}

/** Above 500, and no defect: not there, busy, too late. */
const clientsBusiness = new Set([501, 503, 504]);

/** Answers with {@link describeFailure}; `retryAfter` gives the seconds for a 503. */
export function errorHandler(
  retryAfter: () => number,
  hidePlaces: (text: string) => string,
): (error: unknown, request: FastifyRequest, reply: FastifyReply) => Promise<void> {
  return async (error, request, reply) => {
    const { status, body } = describeFailure(error, request.id, hidePlaces);
    if (status >= 500 && !clientsBusiness.has(status)) request.log.error({ err: error }, body.error);
    else request.log.info({ status, code: body.code }, body.error);
    if (status === 503 && !reply.hasHeader('retry-after')) reply.header('retry-after', retryAfter());
    // What is left of the body stays unread, so nothing else can come on this connection.
    if (status === 413) reply.header('connection', 'close');
    reply.headers((error as { headers?: Record<string, string> }).headers ?? {});
    await reply.code(status).type('application/json').serializer(JSON.stringify).send(body);
  };
}

const parserFailures: Readonly<Record<string, readonly [status: number, code: string, text: string]>> = {
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'ERR_DEADLINE_EXCEEDED', 'The request did not arrive in time.'],
  HPE_HEADER_OVERFLOW: [431, 'ERR_INVALID_REQUEST', 'The headers of the request are too large.'],
};

/** Answers what never became a request: Node's parser refused it, so there is only the connection. */
export function answerParserFailure(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed || !socket.writable) {
    socket.destroy();
    return;
  }
  const [status, code, text] = parserFailures[error.code ?? ''] ?? [
    400,
    'ERR_INVALID_REQUEST',
    'This is not a request of HTTP/1.1.',
  ];
  const body = JSON.stringify({ error: text, code, request_id: randomUUID() });
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\ncontent-type: application/json\r\nconnection: close\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}

export function invalidRequest(message: string, cause?: unknown): GradCamError {
  return new GradCamError('ERR_INVALID_REQUEST', message, cause === undefined ? {} : { cause });
}
