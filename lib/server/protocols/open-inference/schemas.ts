import { z } from 'zod';
import { optionsTextSchema } from '../method-options.js';
import {
  argumentsTextSchema,
  classSchema,
  deadlineSchema,
  example,
  examplePicture,
  freeNames,
  methodSchema,
  reshapeSchema,
  unchecked,
} from '../schemas.js';
import { boxTextSchema, textsTextSchema } from '../target-schemas.js';
import { inputDatatypes } from './tensors.js';

// What an inference takes and gives.

const parameters = z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])).meta(freeNames);
export const tensorMetadata = z.object({
  name: z.string(),
  datatype: z.string(),
  shape: z.array(z.number().int()).describe('-1 for any size'),
});

export const inferBody = z
  .strictObject({
    id: z.string().max(200).optional(),
    model_name: z
      .string()
      .max(200)
      .optional()
      .describe("KServe's client repeats it; if given, it has to be that of the address"),
    parameters: z
      .looseObject({
        method: methodSchema.optional(),
        options: optionsTextSchema.optional(),
        layer: z.string().min(1).max(2000).optional().describe('Several with commas between them'),
        class: classSchema.optional().describe('For all images'),
        box: boxTextSchema.optional(),
        texts: textsTextSchema.optional(),
        top: z.number().int().min(1).max(20).optional().describe('So many of what the model is surest of'),
        reshape: reshapeSchema.optional(),
        arguments: argumentsTextSchema.optional(),
        upsample: z.boolean().optional().describe("False: maps of the layer's size"),
        aug_smooth: z.boolean().optional(),
        eigen_smooth: z.boolean().optional(),
        deadline_ms: deadlineSchema.optional(),
        timeout: z
          .number()
          .int()
          .nonnegative()
          .max(86_400_000_000)
          .optional()
          .describe("As deadline_ms, in microseconds: Triton's name. 0 for none of its own"),
        binary_data_output: z.boolean().optional(),
      })
      .meta(freeNames)
      .optional(),
    inputs: z
      .array(
        z.strictObject({
          name: z.string().min(1).max(200),
          shape: z.array(z.number().int().positive()).min(1).max(8),
          datatype: z.string().max(20).meta({ enum: inputDatatypes }),
          parameters: parameters.optional(),
          data: unchecked('Row-major numbers, flat or nested; for BYTES pictures in base64', {
            type: 'array',
            minItems: 1,
            items: { anyOf: [{ $ref: '#/components/schemas/Numbers' }, { type: 'string' }] },
          }).optional(),
        }),
      )
      .min(1)
      .max(32)
      .describe(
        "The model's inputs in order, and for a target for each image `class`, INT64 [images] or [images, classes], or of detectors `box`, FP32 [images, 4] or [images, boxes, 4]; of a CLIP `texts`, BYTES [texts], for all images",
      ),
    outputs: z
      .array(z.strictObject({ name: z.string().max(200), parameters: parameters.optional() }))
      .max(32)
      .optional(),
  })
  .meta(
    example({
      inputs: [{ name: 'input', shape: [1], datatype: 'BYTES', data: [examplePicture] }],
      parameters: { method: 'gradcam', class: 1 },
      outputs: [{ name: 'scores' }],
    }),
  );
export type InferBody = z.output<typeof inferBody>;

export const inferAnswer = z.object({
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

export const modelMetadata = z.object({
  name: z.string(),
  versions: z.array(z.string()),
  platform: z.string(),
  inputs: z.array(tensorMetadata),
  outputs: z.array(tensorMetadata),
});

const configured = z.object({
  name: z.string(),
  data_type: z.string(),
  dims: z.array(z.number().int()).describe('Without the first, of the images; -1 for any size'),
});
export const modelConfig = z
  .object({
    name: z.string(),
    platform: z.string(),
    backend: z.string(),
    version_policy: z.object({ latest: z.object({ num_versions: z.number().int() }) }),
    max_batch_size: z.number().int().describe('Images that are computed together; a request may have more'),
    input: z.array(configured.extend({ format: z.string() })),
    output: z.array(configured),
    instance_group: z.array(
      z.object({
        name: z.string(),
        kind: z.string(),
        count: z.number().int(),
        gpus: z.array(z.number().int()),
      }),
    ),
    dynamic_batching: z.object({ max_queue_delay_microseconds: z.number().int() }),
  })
  .meta({ id: 'ModelConfig', description: "As much of Triton's ModelConfig as is true here" });

const duration = z
  .object({ count: z.number().int(), ns: z.number().int() })
  .describe('Of stages: once for each part of a request');
export const modelStatistics = z
  .object({
    model_stats: z.array(
      z.object({
        name: z.string(),
        version: z.string(),
        last_inference: z.number().int().describe('Milliseconds since 1970; 0 before the first'),
        inference_count: z.number().int().describe('Images that were predicted or explained'),
        execution_count: z.number().int().describe('Batches that they were computed in'),
        inference_stats: z.object({
          success: duration,
          fail: duration,
          queue: duration,
          compute_input: duration,
          compute_infer: duration,
          compute_output: duration,
        }),
      }),
    ),
  })
  .meta({ id: 'ModelStatistics', description: 'Since the model was loaded' });
