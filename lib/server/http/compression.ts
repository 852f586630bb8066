import { constants } from 'node:zlib';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { GradCamError } from '../../errors/errors.js';

const encodings = ['br', 'gzip', 'deflate'] as const;

/** JSON, tensors, arrays and text. Pictures are compressed already. */
const isCompressible = (type: string) => /json|octet-stream|x-npy|javascript|^text\/|svg/.test(type);

/**
 * Bodies are read in the encodings that they came in, and answers of 1 KiB and more go out in one that the client
 * accepts. How large a body may be is about what it becomes. Register it before the routes.
 */
export async function compression(scope: FastifyInstance): Promise<void> {
  scope.addHook('onRequest', async ({ headers }) => {
    const encoding = headers['content-encoding']?.toLowerCase();
    if (encoding === undefined) return;
    headers['content-encoding'] = encoding === 'x-gzip' ? 'gzip' : encoding;
    const isForm = headers['content-type']?.toLowerCase().startsWith('multipart/') === true;
    if (isForm && encoding !== 'identity') throw unsupported('A form cannot come compressed', ['identity']);
  });
  // A host may have it already, with its own ideas.
  if (!scope.hasReplyDecorator('compress')) {
    await scope.register(import('@fastify/compress'), {
      encodings: [...encodings],
      requestEncodings: [...encodings, 'identity'],
      customTypes: isCompressible,
      // The fastest: by default Brotli takes minutes for what a request may ask for.
      brotliOptions: { params: { [constants.BROTLI_PARAM_QUALITY]: 1 } },
      zlibOptions: { level: 1 },
      onUnsupportedRequestEncoding: (encoding: string) =>
        unsupported(`The Content-Encoding '${encoding.slice(0, 40)}' is not known`, encodings),
    });
  }
  // Whoever is answered before the end of a body needs no more of it: a few bytes may become very many.
  scope.addHook('onRoute', (route) => {
    const hooks = [route.preParsing ?? []].flat();
    route.preParsing = [
      ...hooks,
      async (request: FastifyRequest, reply, payload) => {
        if (payload !== request.raw) reply.raw.once('close', () => payload.destroy?.());
        return payload;
      },
    ];
  });
}

function unsupported(what: string, accepted: readonly string[]): GradCamError {
  const error = new GradCamError('ERR_INVALID_REQUEST', `${what}. There is: ${accepted.join(', ')}.`);
  return Object.assign(error, { statusCode: 415, headers: { 'accept-encoding': accepted.join(', ') } });
}
