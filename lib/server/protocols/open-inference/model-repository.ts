import type { FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { GradCamError } from '../../../errors/errors.js';
import type { ModelRegistry } from '../../models/registry.js';
import type { Workers } from '../../workers/workers.js';
import { readInferenceBodies } from '../inference-body.js';
import { errorSchema, freeNames, modelParams } from '../schemas.js';

const indexSchema = z.array(
  z.object({ name: z.string(), version: z.string(), state: z.string(), reason: z.string() }),
);

// Triton's clients send a body, as a rule an empty object; others send none.
const indexBody = z
  .strictObject({ ready: z.boolean().default(false).describe('Only those that are ready') })
  .nullish();
const controlBody = z
  .strictObject({
    parameters: z
      .record(z.string(), z.union([z.string(), z.number(), z.boolean()]))
      .meta(freeNames)
      .optional()
      .describe("Triton's config and file:... cannot be given; the others change nothing"),
  })
  .nullish();
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
  { models, workers, modelControl }: { models: ModelRegistry; workers: Workers; modelControl: boolean },
): Promise<void> {
  readInferenceBodies(scope, workers);
  const server = scope.withTypeProvider<ZodTypeProvider>();
  const errors = { '4xx': errorSchema, '5xx': errorSchema };

  server.post(
    '/v2/repository/index',
    {
      schema: {
        summary: 'All models and their states',
        body: indexBody,
        response: { 200: indexSchema, ...errors },
      },
    },
    async ({ body }) => {
      const all = await repositoryIndex(models);
      return body?.ready ? all.filter(({ state }) => state === 'READY') : all;
    },
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
          body: controlBody,
          response: { 200: z.object({ name: z.string(), [action]: z.boolean() }), ...errors },
        },
      },
      async ({ params, body }) => {
        const given = Object.keys(body?.parameters ?? {}).find((key) => /^(config$|file:)/.test(key));
        if (given !== undefined)
          throw new GradCamError(
            'ERR_UNSUPPORTED',
            `A model is loaded as its files are: ${given} is not taken.`,
          );
        await models[action](params.model);
        return { name: params.model, [action]: true };
      },
    );
  }
}
