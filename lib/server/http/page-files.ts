import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { packageRoot } from '../../addon/addon.js';

/** Where the built page is, in the package as in the repository. */
const folder = join(packageRoot, 'dist', 'lib', 'server', 'page');

/** What KServe's first protocol has at `/`, for clients that want no HTML. */
export const alive = { status: 'alive' } as const;

/** The page for people at `/`: files of the package, with headers that let it load nothing from elsewhere. */
export async function pageFiles(scope: FastifyInstance): Promise<void> {
  if (!existsSync(join(folder, 'index.html'))) {
    scope.log.warn('the page was not built (npm run build): / only tells that the server is alive');
    scope.get('/', { logLevel: 'warn', schema: { hide: true } }, async () => alive);
    return;
  }
  await scope.register(import('@fastify/helmet'), {
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        'default-src': ["'self'"],
        'img-src': ["'self'", 'blob:', 'data:'],
        'style-src': ["'self'", "'unsafe-inline'"],
        'frame-ancestors': ["'self'"],
        'base-uri': ["'none'"],
        'form-action': ["'none'"],
      },
    },
    // The server speaks HTTP; whoever puts TLS before it decides about this.
    strictTransportSecurity: false,
  });
  await scope.register(import('@fastify/accepts'));
  await scope.register(import('@fastify/static'), {
    root: folder,
    index: false,
    // A route for each file, so that what is no file is nothing, whatever the method.
    wildcard: false,
    schemaHide: true,
  });
  scope.get('/', { logLevel: 'warn', schema: { hide: true } }, async (request, reply) =>
    request.accepts().type(['html', 'json']) === 'json' ? alive : reply.sendFile('index.html'),
  );
}
