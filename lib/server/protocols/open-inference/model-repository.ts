import type { FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { GradCamError } from '../../../errors/errors.js';
import type { ModelRegistry } from '../../models/registry.js';
import { errorSchema, modelParams } from '../schemas.js';

const indexSchema = z.array(
  z.object({ name: z.string(), version: z.string(), state: z.string(), reason: z.string() }),
);

/** All models that are known, and those that could be loaded. */
export async function repositoryIndex(models: ModelRegistry): Promise<z.output<typeof indexSchema>> {
  const known = models.status();
  const others = (await models.available()).filter((name) => !known.some((each) => each.name === name));
  return [
    ...known,
    ...others.map((name) => ({ name, version: '1', state: 'UNAVAILABLE', reason: 'not loaded' })),
  ];
}

/** @throws {GradCamError} `ERR_MODEL_CONTROL` */
export function refuseUnlessOn(modelControl: boolean): void {
  if (modelControl) return;
  throw new GradCamError(
    'ERR_MODEL_CONTROL',
    'Loading and unloading by request is not switched on (--model-control).',
  );
}

/** Triton's and KServe's model repository extension: which models there are, load one, unload one. */
export async function modelRepository(
  scope: FastifyInstance,
  { models, modelControl }: { models: ModelRegistry; modelControl: boolean },
): Promise<void> {
  const server = scope.withTypeProvider<ZodTypeProvider>();
  const errors = { '4xx': errorSchema, '5xx': errorSchema };

  server.post(
    '/v2/repository/index',
    { schema: { summary: 'All models and their states', response: { 200: indexSchema, ...errors } } },
    async () => await repositoryIndex(models),
  );

  const summaries = {
    load: 'Load a model, or load it anew; answered when it is warm',
    unload: 'Unload a model when its requests are answered',
  };
  for (const action of ['load', 'unload'] as const) {
    server.post(
      `/v2/repository/models/:model/${action}`,
      {
        onRequest: async () => refuseUnlessOn(modelControl),
        schema: {
          summary: summaries[action],
          params: modelParams,
          response: { 200: z.object({ name: z.string(), [action]: z.boolean() }), ...errors },
        },
      },
      async ({ params }) => {
        await models[action](params.model);
        return { name: params.model, [action]: true };
      },
    );
  }
}
