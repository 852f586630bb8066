import type { FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { type ModelOutput, selectOutput } from '../../../model/output.js';
import { elementCount } from '../../../tensor/element-count.js';
import { Tensor } from '../../../tensor/tensor.js';
import type { Call, CallRunner } from '../../calls/call.js';
import { invalidRequest } from '../../http/errors.js';
import type { ModelRegistry } from '../../models/registry.js';
import { type ChosenTargets, checkWish, countMaps, type TargetWish } from '../../targets/choice.js';
import { targetsOf } from '../../targets/choose-targets.js';
import { type Corners, frameOf, inputFrame, type PictureFrame } from '../../targets/picture-frame.js';
import { reportTargets } from '../../targets/report.js';
import { AnswerNumbers } from '../../workers/answer-json.js';
import { isPackedNumbers, type PackedNumbers } from '../../workers/packed-numbers.js';
import type { Workers } from '../../workers/workers.js';
import { readInferenceBodies } from '../inference-body.js';
import { memoryOf } from '../map-memory.js';
import { optionsSchema, readMethodChoice } from '../method-options.js';
import {
  argumentsSchema,
  classReportSchema,
  classSchema,
  deadlineSchema,
  errorSchema,
  example,
  examplePicture,
  layerReportSchema,
  layerSchema,
  methodSchema,
  modelParams,
  nestedNumbers,
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
const tensor = nestedNumbers.meta({
  ...nestedNumbers.meta(),
  description: 'Nested numbers [C, H, W], as the model takes them',
});
const classes = z.union([classSchema, z.array(classSchema).min(1).max(100)]);
const boxes = z.union([boxSchema, z.array(cornersSchema).min(1).max(100)]);
const instanceSchema = z.union([
  z
    .strictObject({
      tensor: tensor.optional(),
      b64: base64.optional().describe('A picture (JPEG, PNG, ...), in base64'),
      image_bytes: z.strictObject({ b64: base64 }).optional(),
      data: base64.optional().describe("As b64: TorchServe's name"),
      class: classes.optional().describe('For this instance; several are explained from one forward'),
      box: boxes.optional().describe('For this instance, of a detector'),
      texts: textsSchema.optional().describe('For this instance, of a CLIP'),
    })
    .meta({ id: 'Instance' }),
  tensor,
]);

const common = {
  instances: z.array(instanceSchema).min(1).max(4096),
  arguments: argumentsSchema.optional(),
  deadline_ms: deadlineSchema.optional(),
  signature_name: z.string().max(200).optional().describe('Ignored; TensorFlow Serving clients send it'),
};
const predictBody = z.strictObject(common).meta(example({ instances: [{ b64: examplePicture }] }));
const explainBody = z
  .strictObject({
    ...common,
    class: classes.optional().describe('For all instances that have none of their own'),
    box: boxes
      .optional()
      .describe('Instead, of a detector: a box that it finds, or several by their corners'),
    texts: textsSchema.optional(),
    top: z
      .number()
      .int()
      .min(1)
      .max(20)
      .optional()
      .describe('Instead: so many of what the model is surest of'),
    layer: z.union([layerSchema, z.array(layerSchema).min(1).max(100)]).optional(),
    reshape: reshapeSchema.optional(),
    method: methodSchema.optional(),
    options: optionsSchema.optional(),
    upsample: z
      .boolean()
      .optional()
      .describe("False: maps of the layer's size; default true: of the input's"),
    aug_smooth: z.boolean().optional(),
    eigen_smooth: z.boolean().optional(),
    heatmap: z
      .enum(['array', 'base64', 'none'])
      .default('array')
      .describe('Nested numbers, base64 of little-endian float32, or left out'),
  })
  .meta(example({ instances: [{ b64: examplePicture, class: 1 }], method: 'gradcam', heatmap: 'base64' }));
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
  readonly workers: Workers;
}

export async function kserveV1(
  scope: FastifyInstance,
  { models, calls, workers }: KServeV1Options,
): Promise<void> {
  readInferenceBodies(scope, workers);
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
    '/v1/models/:model([^/:]+)',
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
      const answer = await calls.run(request, reply, deadlineMs, async (call) => {
        call.setMaps(instances.length);
        reserveInputs(call, instances);
        const predictions = await call.each(instances, async (instance, index) => {
          const { tensor } = await readInstance(call, instance, index);
          using input = tensor;
          return plainOutput(call, await call.predict(input, given));
        });
        return await call.stage('postprocess', () => call.writeJson({ predictions }));
      });
      return reply.type('application/json').send(answer as never);
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
      const answer = await calls.run(request, reply, body.deadline_ms, async (call) => {
        reserveInputs(call, body.instances);
        const wishes = body.instances.map((instance) => wishOf(body, instance));
        for (const wish of wishes) checkWish(wish, call.model.task);
        reserveMaps(call, body, wishes);
        const explanations = await call.each(wishes, (wish, index) =>
          explainInstance(call, body, wish, index),
        );
        return await call.stage('postprocess', () => call.writeJson({ explanations }));
      });
      // Written with its numbers, it passes the schema by: Fastify sends bytes as they are.
      return reply.type('application/json').send(answer as never);
    },
  );
}

type Instance = z.output<typeof instanceSchema>;

function fieldsOf(instance: Instance): Exclude<Instance, PackedNumbers> {
  return isPackedNumbers(instance) ? { tensor: instance } : instance;
}

/** Of what the model will see: the numbers that were sent, or pictures as they are prepared. */
function inputShapeOf(call: Call, instance: Instance): readonly number[] {
  return fieldsOf(instance).tensor?.shape ?? call.model.inputShape;
}

function reserveInputs(call: Call, instances: readonly Instance[]): void {
  const values = instances.reduce((sum, instance) => sum + elementCount(inputShapeOf(call, instance)), 0);
  call.reserve(4 * values, `${instances.length} instances`);
}

function reserveMaps(call: Call, body: ExplainBody, wishes: readonly TargetWish[]): void {
  let maps = 0;
  let values = 0;
  for (const [index, wish] of wishes.entries()) {
    const own = countMaps(wish);
    maps += own;
    values += own * elementCount(inputShapeOf(call, body.instances[index] as Instance).slice(1));
  }
  call.setMaps(maps);
  // Maps of the layer's size are known, and counted, when they are there.
  if (body.upsample !== false) call.reserve(memoryOf(values, body.heatmap), `${maps} maps`);
}

/** `[1, C, H, W]` from nested numbers or from a picture, and where it lies in that. */
async function readInstance(
  call: Call,
  instance: Instance,
  index: number,
): Promise<{ tensor: Tensor; frame: PictureFrame }> {
  return await call.stage('preprocess', async () => {
    const { tensor, b64, image_bytes, data } = fieldsOf(instance);
    const picture = b64 ?? image_bytes?.b64 ?? data;
    if ((tensor === undefined) === (picture === undefined))
      throw invalidRequest(
        `instances[${index}] needs nested numbers, or one of tensor, b64, image_bytes and data.`,
      );
    if (picture !== undefined) {
      const image = await call.decode(Buffer.from(picture, 'base64'));
      return { tensor: image.tensor, frame: frameOf(image.geometry) };
    }
    const { values, shape } = tensor as PackedNumbers;
    return { tensor: Tensor.from(values, [1, ...shape]), frame: inputFrame };
  });
}

/** What is wanted of an instance: its own, else what is wanted of all. */
function wishOf(body: ExplainBody, instance: Instance): TargetWish {
  const own = fieldsOf(instance);
  const hasOwn = own.class !== undefined || own.box !== undefined || own.texts !== undefined;
  const { class: asked, box, top, texts } = hasOwn ? { ...own, top: undefined } : body;
  return {
    classes: asked === undefined || Array.isArray(asked) ? asked : [asked],
    boxes: box === undefined ? undefined : isSeveral(box) ? box : [box],
    top,
    texts,
  };
}

function isSeveral(box: NonNullable<ExplainBody['box']>): box is Corners[] {
  return Array.isArray(box) && Array.isArray(box[0]);
}

async function explainInstance(
  call: Call,
  body: ExplainBody,
  wish: TargetWish,
  index: number,
): Promise<ExplanationAnswer> {
  const { model } = call;
  const method = readMethodChoice(body.method ?? model.defaultMethod, body.options);
  const { tensor, frame } = await readInstance(call, body.instances[index] as Instance, index);
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
    const size = elementCount(shape);
    if (body.upsample === false)
      call.reserve(memoryOf(values.length, body.heatmap), `${explained.length} maps`);
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
): { heatmap?: AnswerNumbers } {
  return form === 'none' ? {} : { heatmap: new AnswerNumbers(values, shape, form) };
}

/** A model's output for one image as JSON: without the batch's dimension where there is one. */
function plainOutput(call: Call, output: ModelOutput): unknown {
  const whole = selectOutput(output, undefined);
  if (whole instanceof Tensor) {
    using tensor = whole;
    const [batch, ...shape] = tensor.shape;
    call.reserve(memoryOf(elementCount(tensor.shape), 'array'), `An output of [${tensor.shape.join(', ')}]`);
    return new AnswerNumbers(tensor.toTypedArray(), batch === 1 && shape.length > 0 ? shape : tensor.shape);
  }
  if (Array.isArray(whole)) return whole.map((each) => plainOutput(call, each));
  if (typeof whole === 'object' && whole !== null)
    return Object.fromEntries(Object.entries(whole).map(([key, value]) => [key, plainOutput(call, value)]));
  return whole;
}
