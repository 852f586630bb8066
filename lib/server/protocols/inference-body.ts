import type { Readable } from 'node:stream';
import { errorCodes, type FastifyInstance, type FastifyRequest } from 'fastify';
import { invalidRequest } from '../http/errors.js';
import type { Workers } from '../workers/workers.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** What stands behind the JSON of an inference request; null where there is only JSON. */
    gradcamBinary: Buffer | null;
  }
}

/**
 * The bodies of inferences: JSON whose tensors are packed, with bytes behind it where a header says how long the JSON is
 * (Triton's binary extension).
 */
export function readInferenceBodies(scope: FastifyInstance, workers: Workers): void {
  scope.decorateRequest('gradcamBinary', null);
  scope.removeContentTypeParser(['application/json', 'text/plain']);
  const parse = async (request: FastifyRequest, payload: Readable): Promise<unknown> => {
    const header = request.headers['inference-header-content-length'];
    const jsonLength = header === undefined ? null : Number(header);
    const body = await collect(request, payload, jsonLength ?? 0);
    const length = jsonLength ?? body.length;
    if (!Number.isInteger(length) || length < 1 || length > body.length)
      throw invalidRequest(
        header === undefined
          ? 'The body is empty.'
          : `Inference-Header-Content-Length is ${header}, but the body has ${body.length} bytes.`,
      );
    if (header !== undefined) request.gradcamBinary = body.subarray(length);
    return await workers.readJson(header === undefined ? body : Buffer.from(body.subarray(0, length)));
  };
  scope.addContentTypeParser(['application/json', 'application/octet-stream'], parse);
  // Triton's own client says nothing of what it sends.
  scope.addContentTypeParser('*', async (request: FastifyRequest, payload: Readable) => {
    const type = request.headers['content-type'];
    if (type !== undefined) throw new errorCodes.FST_ERR_CTP_INVALID_MEDIA_TYPE(type);
    return await parse(request, payload);
  });
}

const alignment = 8;

/**
 * The whole body in one piece of memory, in which what stands behind its first `jsonLength` bytes is aligned, so that
 * typed arrays can be views of it: tensors are large, and each copy is work for the garbage collector, too.
 */
export async function collect(request: FastifyRequest, payload: Readable, jsonLength = 0): Promise<Buffer> {
  const limit = request.routeOptions.bodyLimit;
  // Of a compressed body the length is announced that it has in transit.
  const isWhole = payload === request.raw;
  const announced = isWhole ? Number(request.headers['content-length'] ?? Number.NaN) : Number.NaN;
  if (announced > limit) throw new errorCodes.FST_ERR_CTP_BODY_TOO_LARGE();
  const start = jsonLength > 0 ? (alignment - (jsonLength % alignment)) % alignment : 0;
  // Node lets no more through than was announced.
  const memory = Number.isNaN(announced) ? null : Buffer.allocUnsafeSlow(start + announced);
  const chunks: Buffer[] = [];
  let length = 0;
  // Left, it is not destroyed: that would close the connection before the answer.
  for await (const chunk of payload.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    if (length + chunk.length > limit) throw new errorCodes.FST_ERR_CTP_BODY_TOO_LARGE();
    if (memory) chunk.copy(memory, start + length);
    else chunks.push(chunk);
    length += chunk.length;
  }
  return memory ? memory.subarray(start, start + length) : Buffer.concat(chunks, length);
}
