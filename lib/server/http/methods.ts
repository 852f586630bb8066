import type { FastifyInstance, HTTPMethods } from 'fastify';
import { GradCamError } from '../../errors/errors.js';

/**
 * Other methods at the addresses that there are get 405, with `Allow`.
 * @returns what to call once all routes are made
 */
export function refuseOtherMethods(scope: FastifyInstance): () => void {
  const addresses = new Set<string>();
  scope.addHook('onRoute', ({ url }) => {
    if (!url.includes('*')) addresses.add(url);
  });
  return () => {
    const all = scope.supportedMethods as HTTPMethods[];
    for (const url of [...addresses]) {
      const taken = all.filter((method) => scope.hasRoute({ method, url }));
      const allow = taken.sort().join(', ');
      scope.route({
        method: all.filter((method) => !taken.includes(method)),
        url: url.slice(scope.prefix.length),
        prefixTrailingSlash: 'slash',
        schema: { hide: true },
        // Before anything reads a body.
        onRequest: async ({ method }, reply) => {
          reply.header('allow', allow);
          throw new GradCamError(
            'ERR_METHOD_NOT_ALLOWED',
            `${method} is not for this address. There is: ${allow}.`,
          );
        },
        handler: () => {},
      });
    }
  };
}
