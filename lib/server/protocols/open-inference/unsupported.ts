import type { FastifyInstance } from 'fastify';
import { GradCamError } from '../../../errors/errors.js';

const memory = ['system', 'cuda'].map((kind) => `/v2/${kind}sharedmemory`);

/** Addresses of Triton's extensions that there are not, by what to use instead. */
const missing: Readonly<Record<string, readonly string[]>> = {
  'Traces are not set by request: GET /metrics has the times of all stages': [
    '/v2/trace/setting',
    '/v2/models/:model/trace/setting',
  ],
  'Logging is not set by request: start the server with --log-level': ['/v2/logging'],
  'There is no shared memory with clients: send tensors as bytes behind the JSON': memory.flatMap((base) => [
    `${base}/status`,
    `${base}/register`,
    `${base}/unregister`,
    ...['status', 'register', 'unregister'].map((action) => `${base}/region/:region/${action}`),
  ]),
};

/** Calls of Triton's clients that would find nothing, and are told so: 501. */
export function unsupportedExtensions(scope: FastifyInstance): void {
  for (const [message, addresses] of Object.entries(missing))
    for (const url of addresses) {
      scope.route({
        method: ['GET', 'POST'],
        url,
        schema: { hide: true },
        // Before anything reads a body.
        onRequest: async () => {
          throw new GradCamError('ERR_UNSUPPORTED', `${message}.`);
        },
        handler: () => {},
      });
    }
}
