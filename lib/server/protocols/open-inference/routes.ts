import type { FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { CallRunner } from '../../calls/call.js';
import type { ServerMetrics } from '../../calls/metrics.js';
import { invalidRequest } from '../../http/errors.js';
import type { ModelRegistry } from '../../models/registry.js';
import type { Workers } from '../../workers/workers.js';
import { readInferenceBodies } from '../inference-body.js';
import { errorSchema, modelParams, versionedParams } from '../schemas.js';
import { configOf, describeModel, describeServer } from './description.js';
import { infer, ownDeadline } from './infer.js';
import { jsonCarrier } from './json-carrier.js';
import { inferAnswer, inferBody, modelConfig, modelMetadata, modelStatistics } from './schemas.js';
import { unsupportedExtensions } from './unsupported.js';

// The Open Inference Protocol, version 2, with Triton's binary tensor extension. It has no explain of its own: an
// inference that asks for the output `heatmap`, or that has a parameter of explains, is one.

export interface OpenInferenceOptions {
  readonly models: ModelRegistry;
  readonly calls: CallRunner;
  readonly workers: Workers;
  readonly metrics: ServerMetrics;
  readonly version: string;
}

export async function openInference(scope: FastifyInstance, options: OpenInferenceOptions): Promise<void> {
  const { models, calls, metrics, workers, version } = options;
  readInferenceBodies(scope, workers);
  unsupportedExtensions(scope);
  const server = scope.withTypeProvider<ZodTypeProvider>();
  const errors = { '4xx': errorSchema, '5xx': errorSchema };

  server.get(
    '/v2',
    {
      schema: {
        summary: 'The server',
        response: {
          200: z.object({ name: z.string(), version: z.string(), extensions: z.array(z.string()) }),
          ...errors,
        },
      },
    },
    async () => describeServer(version),
  );

  server.get(
    '/v2/models/stats',
    { schema: { summary: 'What all models did', response: { 200: modelStatistics, ...errors } } },
    async () => ({ model_stats: models.loaded().map((served) => metrics.statistics(served)) }),
  );

  for (const versioned of [false, true]) {
    const base = versioned ? '/v2/models/:model/versions/:version' : '/v2/models/:model';
    const params = (versioned ? versionedParams : modelParams) as typeof versionedParams;
    const which = versioned ? ' (of this version)' : '';

    server.get(
      base,
      {
        schema: {
          summary: `Inputs and outputs of a model${which}`,
          params,
          response: {
            200: modelMetadata,
            ...errors,
          },
        },
      },
      async ({ params }) => describeModel(models.get(params.model, params.version)),
    );

    server.get(
      `${base}/config`,
      {
        schema: {
          summary: `The configuration of a model, in Triton's words${which}`,
          params,
          response: { 200: modelConfig, ...errors },
        },
      },
      async ({ params }) => configOf(models.get(params.model, params.version)),
    );

    server.get(
      `${base}/stats`,
      {
        schema: {
          summary: `What a model did${which}`,
          params,
          response: { 200: modelStatistics, ...errors },
        },
      },
      async ({ params }) => ({
        model_stats: [metrics.statistics(models.get(params.model, params.version))],
      }),
    );

    server.get(
      `${base}/ready`,
      {
        schema: {
          summary: `Is a model ready?${which}`,
          params,
          response: { 200: z.object({ name: z.string(), ready: z.boolean() }), ...errors },
        },
      },
      async (request) => {
        models.get(request.params.model, request.params.version);
        return { name: request.params.model, ready: true };
      },
    );

    server.post(
      `${base}/infer`,
      {
        config: { computes: true },
        schema: {
          summary: `Predict or explain${which}`,
          params,
          body: inferBody,
          response: { 200: inferAnswer, ...errors },
        },
      },
      async (request, reply) => {
        const { body, gradcamBinary: binary } = request;
        request.gradcamBinary = null;
        const { model } = request.params;
        if (body.model_name !== undefined && body.model_name !== model)
          throw invalidRequest(`The address is of the model ${model}, but model_name is ${body.model_name}.`);
        const { head, bytes } = await calls.run(request, reply, ownDeadline(body), (call) =>
          infer(call, body, jsonCarrier(call, body, binary)),
        );
        // Written with its numbers, it passes the schema by: Fastify sends bytes as they are.
        if (bytes.length === 0) return reply.type('application/json').send(head as never);
        return reply
          .header('inference-header-content-length', head.length)
          .type('application/octet-stream')
          .send(Buffer.concat([head, ...bytes]) as never);
      },
    );
  }
}
