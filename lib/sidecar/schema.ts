import { z } from 'zod';
import { checkArea, checkTogether, pixels, preparation } from '../image/schema.js';
import { checkArguments } from '../model/arguments.js';
import { scoreKinds } from '../model/scores.js';

const inputSchema = z
  .strictObject({
    width: pixels.describe('What the model sees, in pixels.'),
    height: pixels.describe('What the model sees, in pixels.'),
    ...preparation.shape,
  })
  .superRefine((input, context) => {
    checkArea(input, 'width', context);
    checkTogether(input, context);
  })
  .describe('How a picture becomes the input.');

const index = z.number().int().min(0);
const layer = z.union([
  z.string(),
  z.strictObject({
    path: z.string(),
    call: z.union([index, z.enum(['last', 'all'])]).optional(),
    output: z.union([z.string(), index, z.array(z.union([z.string(), index])).min(1)]).optional(),
  }),
]);

const argumentsSchema = z
  .record(z.string(), z.unknown())
  .superRefine((value, context) => {
    try {
      checkArguments(value);
    } catch (error) {
      context.addIssue({ code: 'custom', message: (error as Error).message });
    }
  })
  .describe(
    "For the parameters of the model's method that are no tensors, by name. Default: the model's own defaults.",
  );

/** What a model does, as far as it decides what of its outputs can be explained. */
export const tasks = ['classification', 'segmentation', 'detection'] as const;

/**
 * A sidecar as it is in the file. docs/sidecar.schema.json is made of it (tools/generate/sidecar_schema.mjs).
 * @internal
 */
export const sidecarSchema = z.strictObject({
  $schema: z.string().describe('For editors: the path of sidecar.schema.json.').optional(),
  name: z.string().describe('For people.').optional(),
  description: z.string().describe('For people.').optional(),
  license: z.string().describe('For people.').optional(),
  source: z.string().describe('For people: where the model comes from.').optional(),
  input: inputSchema,
  dtype: z
    .enum(['auto', 'float16', 'bfloat16', 'float32', 'float64'])
    .describe('Cast the weights. Default auto: as stored, but float16 becomes float32 on the CPU.')
    .optional(),
  precision: z
    .enum(['float32', 'bfloat16'])
    .describe('What is computed where no gradient is needed, on the CPU. Default float32.')
    .optional(),
  arguments: argumentsSchema.optional(),
  layer: z
    .union([layer, z.array(layer).min(1)])
    .describe(
      'The target layer when none is named, or several, whose maps are averaged. Default: the suggested one.',
    )
    .optional(),
  reshapeTransform: z
    .union([
      z.enum(['tokens', 'nhwc', 'featurePyramid']),
      z.strictObject({
        kind: z.literal('tokens'),
        prefixTokens: index.optional(),
        grid: z.array(z.number().int().min(1)).min(1).max(3).optional(),
        batchFirst: z.boolean().optional(),
      }),
      z.strictObject({ kind: z.enum(['nhwc', 'featurePyramid']) }),
    ])
    .describe(
      "How the layer's output becomes a map, for transformers. Default: none, or what the suggested layer needs.",
    )
    .optional(),
  output: z
    .union([z.string(), index, z.array(z.union([z.string(), index]))])
    .describe('The explained part of the output: a key, a position, or a path of these.')
    .optional(),
  task: z
    .enum(tasks)
    .describe(
      'What the model does: classification (the default), segmentation (outputs [images, categories, height, width]) or detection (of each image boxes, labels and scores). It says what the server explains.',
    )
    .optional(),
  scores: z
    .enum(scoreKinds)
    .describe(
      'What the outputs are: logits (softmax makes probabilities), probabilities (they are that already), sigmoid (logits of independent labels), binary (one logit for two classes: negative, positive). Default: what their values tell for certain, and else logits.',
    )
    .optional(),
  labels: z
    .union([z.array(z.string()), z.string()])
    .describe('A name for each class, or a file of them beside the sidecar: one a line, or a JSON array.')
    .optional(),
});
