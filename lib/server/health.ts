import type { FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { ModelRegistry } from './model-registry.js';

/** Alive: the process answers. Ready: all models are loaded and warm, and the server is not about to end. No token needed. */
export async function health(scope: FastifyInstance, { models }: { models: ModelRegistry }): Promise<void> {
  const server = scope.withTypeProvider<ZodTypeProvider>();
  const live = z.object({ live: z.boolean() });
  const ready = z.object({ ready: z.boolean() });

  server.get(
    '/v2/health/live',
    { logLevel: 'warn', schema: { summary: 'Is the process alive?', response: { 200: live } } },
    async () => ({ live: true }),
  );
  server.get(
    '/v2/health/ready',
    {
      logLevel: 'warn',
      schema: { summary: 'Are all models loaded and warm?', response: { 200: ready, 503: ready } },
    },
    async (_request, reply) => {
      const isReady = models.ready;
      return reply.code(isReady ? 200 : 503).send({ ready: isReady });
    },
  );
}
