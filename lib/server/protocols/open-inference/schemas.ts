import { z } from 'zod';
import { optionsTextSchema } from '../method-options.js';
import {
  argumentsTextSchema,
  classSchema,
  deadlineSchema,
  methodSchema,
  reshapeSchema,
  unchecked,
} from '../schemas.js';
import { boxTextSchema, textsTextSchema } from '../target-schemas.js';

// What an inference takes and gives.

const parameters = z.record(z.string(), z.union([z.string(), z.number(), z.boolean()]));
export const tensorMetadata = z.object({
  name: z.string(),
  datatype: z.string(),
  shape: z.array(z.number().int()).describe('-1 for any size'),
});

export const inferBody = z.strictObject({
  id: z.string().max(200).optional(),
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
      "The model's inputs in order, and for a target for each image `class`, INT64 [images] or [images, classes], or of detectors `box`, FP32 [images, 4] or [images, boxes, 4]; of a CLIP `texts`, BYTES [texts], for all images",
    ),
  outputs: z
    .array(z.strictObject({ name: z.string().max(200), parameters: parameters.optional() }))
    .max(32)
    .optional(),
});
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
