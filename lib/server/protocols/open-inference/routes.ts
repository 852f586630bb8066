import type { FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { CallRunner } from '../../calls/call.js';
import type { ModelRegistry } from '../../models/registry.js';
import type { ServedModel } from '../../models/served-model.js';
import { readBinaryTail } from '../inference-body.js';
import { errorSchema, modelParams, versionedParams } from '../schemas.js';
import { infer, outputNames } from './infer.js';
import { inferAnswer, inferBody, tensorMetadata } from './schemas.js';

// The Open Inference Protocol, version 2, with Triton's binary tensor extension. It has no explain of its own: an
// inference that asks for the output `heatmap`, or that has a parameter of explains, is one.

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
  const [channels, height, width] = sidecar || served.task === 'clip' ? served.inputShape : [-1, -1, -1];
  const classes = sidecar?.labels?.length ?? -1;
  const shapes = {
    output: { datatype: 'FP32', shape: [-1, classes] },
    heatmap: { datatype: 'FP32', shape: [-1, height, width] },
    scores: { datatype: 'FP32', shape: [-1] },
    classes: { datatype: 'INT64', shape: [-1] },
    images: { datatype: 'INT64', shape: [-1] },
    boxes: { datatype: 'FP32', shape: [-1, 4] },
    similarities: { datatype: 'FP32', shape: [-1] },
  };
  const ofTask = { boxes: 'detection', similarities: 'clip' };
  const given = outputNames.filter(
    (name) =>
      (ofTask as Record<string, string>)[name] === undefined || served.task === ofTask[name as 'boxes'],
  );
  return {
    name: served.name,
    versions: [served.version],
    platform: 'pytorch_torchscript',
    inputs: [{ name: 'input', datatype: 'FP32', shape: [-1, channels, height, width] }],
    outputs: given.map((name) => ({ name, ...shapes[name] })),
  };
}
