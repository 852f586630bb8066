import type { FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { CallRunner } from '../../calls/call.js';
import type { ModelRegistry } from '../../models/registry.js';
import type { ServedModel } from '../../models/served-model.js';
import { readBinaryTail } from '../inference-body.js';
import {
  argumentsTextSchema,
  classSchema,
  deadlineSchema,
  errorSchema,
  methodSchema,
  modelParams,
  reshapeSchema,
  unchecked,
  versionedParams,
} from '../schemas.js';
import { infer, outputNames } from './infer.js';

// The Open Inference Protocol, version 2, with Triton's binary tensor extension. It has no explain of its own: an
// inference that asks for the output `heatmap`, or that has a parameter of explains, is one.

const parameters = z.record(z.string(), z.union([z.string(), z.number(), z.boolean()]));
const tensorMetadata = z.object({
  name: z.string(),
  datatype: z.string(),
  shape: z.array(z.number().int()).describe('-1 for any size'),
});

const inferBody = z.strictObject({
  id: z.string().max(200).optional(),
  parameters: z
    .looseObject({
      method: methodSchema.optional(),
      layer: z.string().min(1).max(2000).optional().describe('Several with commas between them'),
      class: classSchema.optional().describe('For all images'),
      reshape: reshapeSchema.optional(),
      arguments: argumentsTextSchema.optional(),
      upsample: z.boolean().optional().describe("False: maps of the layer's size"),
      aug_smooth: z.boolean().optional(),
      eigen_smooth: z.boolean().optional(),
      deadline_ms: deadlineSchema.optional(),
      binary_data_output: z.boolean().optional(),
    })
    .optional(),
  inputs: z
    .array(
      z.strictObject({
        name: z.string().min(1).max(200),
        shape: z.array(z.number().int().nonnegative()).min(1).max(8),
        datatype: z.string().max(20),
        parameters: parameters.optional(),
        data: unchecked('Row-major numbers, flat or nested; for BYTES pictures in base64').optional(),
      }),
    )
    .min(1)
    .max(32)
    .describe(
      "The model's inputs in order, and `class`, INT64 [images] or [images, classes], for a class for each image",
    ),
  outputs: z
    .array(z.strictObject({ name: z.string().max(200), parameters: parameters.optional() }))
    .max(32)
    .optional(),
});
export type InferBody = z.output<typeof inferBody>;

const inferAnswer = z.object({
  model_name: z.string(),
  model_version: z.string(),
  id: z.string().optional(),
  parameters: parameters.optional(),
  outputs: z.array(
    tensorMetadata.extend({
      parameters: z.object({ binary_data_size: z.number().int() }).optional(),
      data: unchecked('Row-major numbers').optional(),
    }),
  ),
});

export interface OpenInferenceOptions {
  readonly models: ModelRegistry;
  readonly calls: CallRunner;
  readonly version: string;
}

export async function openInference(scope: FastifyInstance, options: OpenInferenceOptions): Promise<void> {
  const { models, calls, version } = options;
  readBinaryTail(scope);
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
    async () => ({ name: 'node-gradcam', version, extensions: ['binary_tensor_data', 'model_repository'] }),
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
            200: z.object({
              name: z.string(),
              versions: z.array(z.string()),
              platform: z.string(),
              inputs: z.array(tensorMetadata),
              outputs: z.array(tensorMetadata),
            }),
            ...errors,
          },
        },
      },
      async (request) => describe(models.get(request.params.model, request.params.version)),
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
        const { deadline_ms: deadlineMs } = request.body.parameters ?? {};
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

function describe(served: ServedModel) {
  const { sidecar } = served;
  const [channels, height, width] = sidecar ? served.inputShape : [-1, -1, -1];
  const classes = sidecar?.labels?.length ?? -1;
  const shapes = {
    output: { datatype: 'FP32', shape: [-1, classes] },
    heatmap: { datatype: 'FP32', shape: [-1, height, width] },
    scores: { datatype: 'FP32', shape: [-1] },
    classes: { datatype: 'INT64', shape: [-1] },
    images: { datatype: 'INT64', shape: [-1] },
  };
  return {
    name: served.name,
    versions: [served.version],
    platform: 'pytorch_torchscript',
    inputs: [{ name: 'input', datatype: 'FP32', shape: [-1, channels, height, width] }],
    outputs: outputNames.map((name) => ({ name, ...shapes[name] })),
  };
}
