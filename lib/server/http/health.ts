import type { FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { callNative } from '../../addon/addon.js';
import type { ModelRegistry } from '../models/registry.js';

/** The process answers, and its GPU did not fail in a way that only a new process gets over. */
export function isLive(): boolean {
  return !callNative((module) => module.deviceLost());
}

/** All models are loaded and warm, and the server is not about to end. */
export function isReady(models: ModelRegistry): boolean {
  return models.ready && isLive();
}

/** {@link isLive} and {@link isReady}. No token needed, and probes may call the server as they like. */
export async function health(scope: FastifyInstance, { models }: { models: ModelRegistry }): Promise<void> {
  const server = scope.withTypeProvider<ZodTypeProvider>();
  const liveSchema = z.object({ live: z.boolean() });
  const readySchema = z.object({ ready: z.boolean() });

  server.get(
    '/v2/health/live',
    {
      logLevel: 'warn',
      config: { anyHost: true },
      schema: { summary: 'Is the process alive?', response: { 200: liveSchema, 503: liveSchema } },
    },
    async (_request, reply) => {
      const live = isLive();
      return reply.code(live ? 200 : 503).send({ live });
    },
  );
  server.get(
    '/v2/health/ready',
    {
      logLevel: 'warn',
      config: { anyHost: true },
      schema: {
        summary: 'Are all models loaded and warm?',
        response: { 200: readySchema, 503: readySchema },
      },
    },
    async (_request, reply) => {
      const ready = isReady(models);
      return reply.code(ready ? 200 : 503).send({ ready });
    },
  );
}
