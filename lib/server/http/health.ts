import type { FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { callNative } from '../../addon/addon.js';
import type { ModelRegistry } from '../models/registry.js';

const deviceLost = (): boolean => callNative((module) => module.deviceLost());

/**
 * Alive: the process answers, and its GPU did not fail in a way that only a new process gets over. Ready: all models are
 * loaded and warm, and the server is not about to end. No token needed, and probes may call the server as they like.
 */
export async function health(scope: FastifyInstance, { models }: { models: ModelRegistry }): Promise<void> {
  const server = scope.withTypeProvider<ZodTypeProvider>();
  const live = z.object({ live: z.boolean() });
  const ready = z.object({ ready: z.boolean() });

  server.get(
    '/v2/health/live',
    {
      logLevel: 'warn',
      config: { anyHost: true },
      schema: { summary: 'Is the process alive?', response: { 200: live, 503: live } },
    },
    async (_request, reply) => {
      const isLive = !deviceLost();
      return reply.code(isLive ? 200 : 503).send({ live: isLive });
    },
  );
  server.get(
    '/v2/health/ready',
    {
      logLevel: 'warn',
      config: { anyHost: true },
      schema: { summary: 'Are all models loaded and warm?', response: { 200: ready, 503: ready } },
    },
    async (_request, reply) => {
      const isReady = models.ready && !deviceLost();
      return reply.code(isReady ? 200 : 503).send({ ready: isReady });
    },
  );
}
