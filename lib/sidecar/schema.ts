import { z } from 'zod';
import { mostPixels } from '../image/geometry.js';
import { checkArguments } from '../model/arguments.js';
import { scoreKinds } from '../model/scores.js';

const pixels = z.number().int().min(1).max(65_535);
const finite = z.number();
const byte = z.number().min(0).max(255);

const inputSchema = z
  .strictObject({
    width: pixels.describe('What the model sees, in pixels.'),
    height: pixels.describe('What the model sees, in pixels.'),
    channels: z
      .union([z.literal(1), z.literal(3)])
      .describe('3 for colour (the default), 1 for gray.')
      .optional(),
    channelOrder: z.enum(['rgb', 'bgr']).describe('Default rgb.').optional(),
    fit: z
      .enum(['crop', 'stretch', 'contain'])
      .describe(
        'crop (the default): resize and cut out the centre; stretch: change the aspect; contain: add bars.',
      )
      .optional(),
    resize: pixels
      .describe(
        'The shorter side before the centre is cut out. Default: with fit crop 256 / 224 of the input, with stretch its own.',
      )
      .optional(),
    paddingColor: z
      .tuple([byte, byte, byte])
      .describe("With fit contain, the bars' red, green and blue, 0 to 255. Default black.")
      .optional(),
    interpolation: z
      .enum(['nearest', 'bilinear', 'bicubic', 'lanczos'])
      .describe('Default bilinear.')
      .optional(),
    antialias: z
      .boolean()
      .describe('Average when the picture shrinks, as Pillow does (the default); false as OpenCV does.')
      .optional(),
    colorProfile: z
      .enum(['apply', 'ignore'])
      .describe(
        "apply (the default): a file's colours become sRGB; ignore: its numbers as they are, as Pillow does.",
      )
      .optional(),
    range: z
      .tuple([finite, finite])
      .describe(
        'The values of the file that become 0 and 1; what lies beyond is cut. Default: all that the depth holds, 0 to 255 or 65535; of floats 0 to 1.',
      )
      .optional(),
    valueRange: z
      .tuple([finite, finite])
      .describe('What black and white become, before mean and std. Default 0 and 1.')
      .optional(),
    mean: z
      .array(finite)
      .describe(
        "Of each channel, on the scale of valueRange, subtracted. Default: ImageNet's; with a valueRange 0.",
      )
      .optional(),
    std: z
      .array(z.number().positive())
      .describe("Of each channel, divided by. Default: ImageNet's; with a valueRange 1.")
      .optional(),
  })
  .superRefine((input, context) => {
    const refuse = (key: string, message: string) =>
      context.addIssue({ code: 'custom', path: [key], message });
    if (input.width * input.height > mostPixels)
      refuse('width', `Width times height is at most ${mostPixels}`);
    const channels = input.channels ?? 3;
    for (const key of ['mean', 'std'] as const) {
      const count = input[key]?.length ?? channels;
      if (count !== channels)
        refuse(key, `Expected ${channels} numbers, one per channel, but there are ${count}`);
    }
    if (input.range && !(input.range[0] < input.range[1]))
      refuse('range', 'The low value must be below the high one');
    const fit = input.fit ?? 'crop';
    if (input.resize !== undefined && fit === 'contain')
      refuse('resize', `It has no meaning with fit '${fit}'`);
    if (input.paddingColor !== undefined && fit !== 'contain')
      refuse('paddingColor', `It has no meaning with fit '${fit}'`);
    if (input.antialias === false && input.interpolation === 'lanczos')
      refuse('antialias', 'It must be true with lanczos');
    if (input.channelOrder === 'bgr' && channels === 1) refuse('channelOrder', 'One channel has no order');
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

/**
 * A sidecar as it is in the file. docs/sidecar.schema.json is made of it (tools/sidecar_schema.mjs).
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
