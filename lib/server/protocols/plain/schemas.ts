import { z } from 'zod';
import { type ColormapName, colormapNames } from '../../../visualization/colours/colormaps.js';
import { mapStyles } from '../../../visualization/draw-maps.js';
import { methodOptionsReport, optionsTextSchema } from '../method-options.js';
import {
  argumentsTextSchema,
  classReportSchema,
  deadlineTextSchema,
  layerReportSchema,
  layerSchema,
  methodSchema,
  reshapeSchema,
  scoresReport,
  timingsSchema,
} from '../schemas.js';
import { boxTextsSchema, explainedSchema, foundReport, taskSchema, textsSchema } from '../target-schemas.js';

// What the plain protocol takes and gives.

export const formats = {
  png: 'image/png',
  jpeg: 'image/jpeg',
  webp: 'image/webp',
  avif: 'image/avif',
  json: 'application/json',
  npy: 'application/x-npy',
} as const;
export type Format = keyof typeof formats;
export const formatNames = Object.keys(formats) as [Format, ...Format[]];

const severalTexts = (one: z.ZodString) =>
  z.union([one, z.array(one).max(100)]).transform((value) => (typeof value === 'string' ? [value] : value));
const flag = z.enum(['true', 'false', '1', '0', '']).transform((value) => value !== 'false' && value !== '0');

export const query = z.strictObject({
  method: methodSchema.optional(),
  options: optionsTextSchema.optional(),
  layer: severalTexts(layerSchema).optional(),
  class: severalTexts(z.string().min(1).max(200))
    .optional()
    .describe(
      'Index or label; several are explained from one forward. Of a detector: the surest box of the label',
    ),
  box: boxTextsSchema.optional(),
  text: textsSchema.optional(),
  top: z.coerce
    .number()
    .int()
    .min(1)
    .max(20)
    .optional()
    .describe('Instead of class: so many of what the model is surest of'),
  reshape: reshapeSchema.optional(),
  arguments: argumentsTextSchema.optional(),
  style: z.enum(mapStyles).default('overlay').describe('How the map is drawn over the picture'),
  colormap: z
    .enum(colormapNames as [ColormapName, ...ColormapName[]])
    .optional()
    .describe('Of overlay, attention and heat; default jet'),
  image_weight: z.coerce
    .number()
    .min(0)
    .max(1)
    .optional()
    .describe('Of an overlay: how much of the picture stays under the heat; default 0.5'),
  threshold: z.coerce
    .number()
    .positive()
    .max(1)
    .optional()
    .describe('Of contour, box and mask: the value from which on; default 0.5'),
  original: flag
    .optional()
    .describe('Draw on the whole picture in its own size, not on what the model saw of it'),
  quality: z.coerce
    .number()
    .int()
    .min(1)
    .max(100)
    .optional()
    .describe('Of JPEG, WebP and AVIF; default 90, 90, 60'),
  format: z.enum(formatNames).optional().describe('Instead of the Accept header; default png'),
  aug_smooth: flag.optional().describe('Average over six changed copies of the image'),
  eigen_smooth: flag.optional().describe('Keep the main pattern only'),
  deadline_ms: deadlineTextSchema.optional(),
});
export type Query = z.output<typeof query>;

export const answerSchema = z
  .object({
    model: z.string(),
    version: z.string(),
    method: z.string(),
    layers: z.array(layerReportSchema),
    task: taskSchema,
    ...scoresReport,
    ...foundReport,
    top: z.array(classReportSchema).describe('Of a classifier the five likeliest classes'),
    explained: z.array(
      explainedSchema.extend({
        mean: z.number(),
        hot_share: z.number().describe('Share of the picture where the map is at least 0.5'),
        peak: z.object({ x: z.number().int(), y: z.number().int() }),
        heatmap: z.object({
          shape: z.array(z.number().int()),
          datatype: z.literal('FP32'),
          data: z.string().describe('Base64 of little-endian float32, 0 to 1, row by row'),
        }),
      }),
    ),
    image: z
      .object({
        width: z.number().int(),
        height: z.number().int(),
        original_width: z.number().int(),
        original_height: z.number().int(),
        resized_width: z.number().int(),
        resized_height: z.number().int(),
        crop_left: z.number().int(),
        crop_top: z.number().int(),
      })
      .describe('How the picture became what the model saw: resized, then cut out'),
    batch_size: z.number().int().describe('Images that were computed together with this one'),
    pending: z.number().int().describe('Images on their way through the server at that moment'),
    timings_ms: timingsSchema,
    request_id: z.string(),
  })
  .meta({ id: 'Explanation' });
export type Answer = z.output<typeof answerSchema>;

export const modelNamesSchema = z.object({ models: z.array(z.string()) });

export const descriptionSchema = z
  .object({
    name: z.string(),
    version: z.string(),
    title: z.string(),
    task: taskSchema,
    description: z.string().nullable(),
    input: z.object({ width: z.number(), height: z.number(), channels: z.number() }),
    labels: z.array(z.string()).nullable(),
    method: z.string(),
    methods: z.array(z.string()),
    method_options: methodOptionsReport,
    layers: z.array(
      z.object({
        path: z.string(),
        type: z.string(),
        depth: z.number().int(),
        shape: z.array(z.number().int()).nullable(),
        called: z.boolean(),
      }),
    ),
    layer: z.array(z.string()).describe('The layers when none is named'),
    warnings: z
      .array(z.object({ code: z.string(), message: z.string() }))
      .describe('What must be known of the model, such as operations in training mode'),
  })
  .meta({ id: 'ModelDescription' });
export type ModelDescription = z.output<typeof descriptionSchema>;
