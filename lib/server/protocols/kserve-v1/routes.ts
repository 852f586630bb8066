import type { FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { type ModelOutput, selectOutput } from '../../../model/output.js';
import { Tensor } from '../../../tensor/tensor.js';
import { bytesOf } from '../../../tensor/typed-array-bytes.js';
import type { Call, CallRunner } from '../../calls/call.js';
import { invalidRequest } from '../../http/errors.js';
import type { ModelRegistry } from '../../models/registry.js';
import { type ChosenTargets, checkWish, type TargetWish } from '../../targets/choice.js';
import { targetsOf } from '../../targets/choose-targets.js';
import { frameOf, inputFrame, type PictureFrame } from '../../targets/picture-frame.js';
import { reportTargets } from '../../targets/report.js';
import { optionsSchema, readMethodChoice } from '../method-options.js';
import { flatten, nest } from '../nested-numbers.js';
import {
  argumentsSchema,
  classReportSchema,
  classSchema,
  deadlineSchema,
  errorSchema,
  layerReportSchema,
  layerSchema,
  methodSchema,
  modelParams,
  reportClass,
  reportLayer,
  reshapeSchema,
  scoresReport,
  unchecked,
} from '../schemas.js';
import {
  boxSchema,
  cornersSchema,
  explainedSchema,
  foundReport,
  reportExplained,
  reportFound,
  taskSchema,
  textsSchema,
} from '../target-schemas.js';

// KServe's first protocol. Its :explain has no standard body: ours takes the options beside `instances`, and a class
// of its own for each instance.

const base64 = z.string().min(1);
// Their inside is checked while it is copied.
const nestedNumbers = z
  .array(z.unknown())
  .min(1)
  .describe('Nested numbers [C, H, W], as the model takes them');
const classes = z.union([classSchema, z.array(classSchema).min(1).max(100)]);
const boxes = z.union([boxSchema, z.array(cornersSchema).min(1).max(100)]);
const instanceSchema = z.union([
  z
    .strictObject({
      tensor: nestedNumbers.optional(),
      b64: base64.optional().describe('A picture (JPEG, PNG, ...), in base64'),
      image_bytes: z.strictObject({ b64: base64 }).optional(),
      data: base64.optional().describe("As b64: TorchServe's name"),
      class: classes.optional().describe('For this instance; several are explained from one forward'),
      box: boxes.optional().describe('For this instance, of a detector'),
      texts: textsSchema.optional().describe('For this instance, of a CLIP'),
    })
    .meta({ id: 'Instance' }),
  nestedNumbers,
]);

const common = {
  instances: z.array(instanceSchema).min(1).max(4096),
  arguments: argumentsSchema.optional(),
  deadline_ms: deadlineSchema.optional(),
  signature_name: z.string().max(200).optional().describe('Ignored; TensorFlow Serving clients send it'),
};
const predictBody = z.strictObject(common);
const explainBody = z.strictObject({
  ...common,
  class: classes.optional().describe('For all instances that have none of their own'),
  box: boxes.optional().describe('Instead, of a detector: a box that it finds, or several by their corners'),
  texts: textsSchema.optional(),
  top: z.number().int().min(1).max(20).optional().describe('Instead: so many of what the model is surest of'),
  layer: z.union([layerSchema, z.array(layerSchema).min(1).max(100)]).optional(),
  reshape: reshapeSchema.optional(),
  method: methodSchema.optional(),
  options: optionsSchema.optional(),
  upsample: z.boolean().optional().describe("False: maps of the layer's size; default true: of the input's"),
  aug_smooth: z.boolean().optional(),
  eigen_smooth: z.boolean().optional(),
  heatmap: z
    .enum(['array', 'base64', 'none'])
    .default('array')
    .describe('Nested numbers, base64 of little-endian float32, or left out'),
});
type ExplainBody = z.output<typeof explainBody>;

const explanationSchema = z.object({
  method: z.string(),
  layers: z.array(layerReportSchema),
  ...scoresReport,
  top: z.array(classReportSchema),
  task: taskSchema,
  ...foundReport,
  maps: z.array(
    explainedSchema.extend({
      shape: z.array(z.number().int()),
      heatmap: unchecked('Nested numbers, or base64 of float32, 0 to 1').optional(),
    }),
  ),
});
type ExplanationAnswer = z.output<typeof explanationSchema>;

export interface KServeV1Options {
  readonly models: ModelRegistry;
  readonly calls: CallRunner;
}

export async function kserveV1(scope: FastifyInstance, { models, calls }: KServeV1Options): Promise<void> {
  const server = scope.withTypeProvider<ZodTypeProvider>();
  const errors = { '4xx': errorSchema, '5xx': errorSchema };

  server.get(
    '/v1/models',
    {
      schema: {
        summary: 'The models',
        response: { 200: z.object({ models: z.array(z.string()) }), ...errors },
      },
    },
    async () => ({ models: models.names }),
  );

  server.get(
    '/v1/models/:model',
    {
      schema: {
        summary: 'Is a model ready?',
        params: modelParams,
        response: { 200: z.object({ name: z.string(), ready: z.boolean() }), ...errors },
      },
    },
    async ({ params }) => {
      models.get(params.model);
      return { name: params.model, ready: true };
    },
  );

  server.post(
    '/v1/models/:model([^/:]+)::predict',
    {
      config: { computes: true },
      schema: {
        summary: "The model's outputs",
        params: modelParams,
        body: predictBody,
        response: {
          200: z.object({ predictions: z.array(unchecked('Outputs of one instance')) }),
          ...errors,
        },
      },
    },
    async (request, reply) => {
      const { instances, arguments: given, deadline_ms: deadlineMs } = request.body;
      return await calls.run(request, reply, deadlineMs, async (call) => {
        call.setImages(instances.length);
        const predictions = await Promise.all(
          instances.map(async (instance, index) => {
            const { tensor } = await readInstance(call, instance, index);
            using input = tensor;
            return plainOutput(await call.predict(input, given));
          }),
        );
        return { predictions };
      });
    },
  );

  server.post(
    '/v1/models/:model([^/:]+)::explain',
    {
      config: { computes: true },
      schema: {
        summary: 'Heatmaps of the instances',
        params: modelParams,
        body: explainBody,
        response: { 200: z.object({ explanations: z.array(explanationSchema) }), ...errors },
      },
    },
    async (request, reply) => {
      const { body } = request;
      return await calls.run(request, reply, body.deadline_ms, async (call) => {
        call.setImages(body.instances.length);
        const explanations = await Promise.all(
          body.instances.map((instance, index) => explainInstance(call, body, instance, index)),
        );
        return { explanations };
      });
    },
  );
}

/** `[1, C, H, W]` from nested numbers or from a picture, and where it lies in that. */
async function readInstance(
  call: Call,
  instance: unknown,
  index: number,
): Promise<{ tensor: Tensor; frame: PictureFrame }> {
  const name = `instances[${index}]`;
  return await call.stage('preprocess', async () => {
    const fields = Array.isArray(instance)
      ? { tensor: instance }
      : (instance as z.output<typeof instanceSchema>);
    const { tensor, b64, image_bytes, data } = fields as {
      tensor?: unknown;
      b64?: string;
      image_bytes?: { b64: string };
      data?: string;
    };
    const picture = b64 ?? image_bytes?.b64 ?? data;
    if ((tensor === undefined) === (picture === undefined))
      throw invalidRequest(`${name} needs nested numbers, or one of tensor, b64, image_bytes and data.`);
    if (picture !== undefined) {
      const image = await call.decode(Buffer.from(picture, 'base64'));
      return { tensor: image.tensor, frame: frameOf(image.geometry) };
    }
    const flat = flatten(tensor, name, Float32Array);
    return { tensor: Tensor.from(flat.data, [1, ...flat.shape]), frame: inputFrame };
  });
}

/** What is wanted of an instance: its own, else what is wanted of all. */
function wishOf(body: ExplainBody, instance: unknown): TargetWish {
  const own: Pick<ExplainBody, 'class' | 'box' | 'texts'> = Array.isArray(instance)
    ? {}
    : (instance as object);
  const hasOwn = own.class !== undefined || own.box !== undefined || own.texts !== undefined;
  const { class: asked, box, top, texts } = hasOwn ? { ...own, top: undefined } : body;
  return {
    classes: asked === undefined || Array.isArray(asked) ? asked : [asked],
    boxes: box === undefined ? undefined : isSeveral(box) ? box : [box],
    top,
    texts,
  };
}

function isSeveral(box: NonNullable<ExplainBody['box']>): box is [number, number, number, number][] {
  return Array.isArray(box) && Array.isArray(box[0]);
}

async function explainInstance(
  call: Call,
  body: ExplainBody,
  instance: unknown,
  index: number,
): Promise<ExplanationAnswer> {
  const { model } = call;
  const wish = wishOf(body, instance);
  checkWish(wish, model.task);
  const method = readMethodChoice(body.method ?? model.defaultMethod, body.options);
  const { tensor, frame } = await readInstance(call, instance, index);
  using input = tensor;
  const [chosen] = (await call.choose([input], [{ wish, frame }], body.arguments)) as [ChosenTargets];
  using explanation = await call.explain(input, {
    ...method,
    layers: typeof body.layer === 'string' ? [body.layer] : body.layer,
    reshape: body.reshape,
    arguments: body.arguments,
    upsample: body.upsample,
    targets: targetsOf([chosen]),
    augSmooth: body.aug_smooth,
    eigenSmooth: body.eigen_smooth,
  });
  return await call.stage('postprocess', () => {
    const { scores, note, top, explained } = reportTargets(explanation, chosen, model.sidecar);
    const values = explanation.heatmaps.toTypedArray() as Float32Array;
    const shape = explanation.heatmaps.shape.slice(1);
    const size = shape.reduce((product, length) => product * length, 1);
    return {
      method: body.method ?? model.defaultMethod,
      layers: explanation.layers.map(reportLayer),
      task: model.task,
      scores,
      note,
      ...reportFound(chosen),
      top: top.map(reportClass),
      maps: explained.map((each, position) => ({
        ...reportExplained(each),
        shape,
        ...heatmapAs(body.heatmap, values.subarray(position * size, (position + 1) * size), shape),
      })),
    };
  });
}

function heatmapAs(
  form: ExplainBody['heatmap'],
  values: Float32Array,
  shape: readonly number[],
): { heatmap?: unknown } {
  if (form === 'none') return {};
  return { heatmap: form === 'array' ? nest(values, shape) : bytesOf(values).toString('base64') };
}

/** A model's output for one image as JSON: without the batch's dimension where there is one. */
function plainOutput(output: ModelOutput): unknown {
  const whole = selectOutput(output, undefined);
  if (whole instanceof Tensor) {
    using tensor = whole;
    const [batch, ...shape] = tensor.shape;
    const values = Array.from(tensor.toTypedArray() as ArrayLike<number | bigint>, Number);
    return batch === 1 && shape.length > 0 ? nest(values, shape) : nest(values, tensor.shape);
  }
  if (Array.isArray(whole)) return whole.map(plainOutput);
  if (typeof whole === 'object' && whole !== null)
    return Object.fromEntries(Object.entries(whole).map(([key, value]) => [key, plainOutput(value)]));
  return whole;
}
