import type { FastifyInstance, HTTPMethods } from 'fastify';
import { GradCamError } from '../../errors/errors.js';

/**
 * Other methods at the addresses that there are get 405, with `Allow`.
 * @returns what to call once all routes are made
 */
export function refuseOtherMethods(scope: FastifyInstance): () => void {
  const addresses = new Map<string, Set<string>>();
  scope.addHook('onRoute', ({ url, method }) => {
    if (url.includes('*')) return;
    const methods = addresses.get(url) ?? new Set();
    addresses.set(url, methods);
    for (const each of [method].flat()) methods.add(each);
  });
  return () => {
    for (const [address, methods] of [...addresses]) {
      const allow = [...methods].sort().join(', ');
      const others = scope.supportedMethods.filter(
        (method) => !scope.hasRoute({ method: method as HTTPMethods, url: address }),
      );
      scope.route({
        method: others as HTTPMethods[],
        url: address.slice(scope.prefix.length),
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
