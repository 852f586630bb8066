import type { FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { CallRunner } from '../../calls/call.js';
import type { ServerMetrics } from '../../calls/metrics.js';
import type { ModelRegistry } from '../../models/registry.js';
import { readBinaryTail } from '../inference-body.js';
import { errorSchema, modelParams, versionedParams } from '../schemas.js';
import { configOf, describeModel } from './description.js';
import { infer } from './infer.js';
import { inferAnswer, inferBody, modelConfig, modelMetadata, modelStatistics } from './schemas.js';
import { unsupportedExtensions } from './unsupported.js';

const extensions = [
  'binary_tensor_data',
  'model_configuration',
  'model_repository',
  'parameters',
  'statistics',
];

// The Open Inference Protocol, version 2, with Triton's binary tensor extension. It has no explain of its own: an
// inference that asks for the output `heatmap`, or that has a parameter of explains, is one.

export interface OpenInferenceOptions {
  readonly models: ModelRegistry;
  readonly calls: CallRunner;
  readonly metrics: ServerMetrics;
  readonly version: string;
}

export async function openInference(scope: FastifyInstance, options: OpenInferenceOptions): Promise<void> {
  const { models, calls, metrics, version } = options;
  readBinaryTail(scope);
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
    async () => ({ name: 'node-gradcam', version, extensions }),
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
        const { deadline_ms: own, timeout = 0 } = request.body.parameters ?? {};
        const deadlineMs = own ?? (timeout > 0 ? Math.ceil(timeout / 1000) : undefined);
        const binary = request.gradcamBinary;
        request.gradcamBinary = null;
        const { json, bytes } = await calls.run(request, reply, deadlineMs, (call) =>
          infer(call, request.body, binary),
        );
        if (bytes.length === 0) return json;
        const head = Buffer.from(JSON.stringify(json));
        // Bytes pass the schema by: Fastify sends them as they are.
        return reply
          .header('inference-header-content-length', head.length)
          .type('application/octet-stream')
          .send(Buffer.concat([head, ...bytes]) as never);
      },
    );
  }
}
