import type { Readable } from 'node:stream';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import type { z } from 'zod';
import type { Explanation } from '../../../cam/explanation.js';
import { statisticsOf } from '../../../cam/explanation-report.js';
import { methodNames } from '../../../cam/methods/registry.js';
import type { InspectedLayer, Layer } from '../../../model/model.js';
import { spellLayer } from '../../../model/target-layers.js';
import { type MapDrawing, uselessFor } from '../../../visualization/draw-maps.js';
import type { Call, CallRunner } from '../../calls/call.js';
import { invalidRequest } from '../../http/errors.js';
import type { ModelRegistry } from '../../models/registry.js';
import type { ServedModel } from '../../models/served-model.js';
import { type ChosenTargets, checkWish, countMaps } from '../../targets/choice.js';
import { targetsOf } from '../../targets/choose-targets.js';
import { frameOf } from '../../targets/picture-frame.js';
import { reportTargets, targetCaption } from '../../targets/report.js';
import { AnswerNumbers } from '../../workers/answer-json.js';
import type { ClientPicture } from '../../workers/workers.js';
import { collect } from '../inference-body.js';
import { memoryOf, nameMaps } from '../map-memory.js';
import { readMethodChoice, reportMethodOptions } from '../method-options.js';
import { errorSchema, modelParams, reportClass, reportLayer } from '../schemas.js';
import { reportExplained, reportFound } from '../target-schemas.js';
import {
  type Answer,
  answerSchema,
  descriptionSchema,
  type Format,
  formatNames,
  formats,
  modelNamesSchema,
  type Query,
  query,
} from './schemas.js';

// For people, scripts and the page: a picture in, the same picture with heat on it out.

export interface PlainOptions {
  readonly models: ModelRegistry;
  readonly calls: CallRunner;
  readonly pending: () => number;
  readonly maxBodyBytes: number;
  readonly hidePlaces: (text: string) => string;
}

/** `POST /explain/:model` with a picture, `GET /explain/:model` for what can be asked. */
export async function plainProtocol(scope: FastifyInstance, options: PlainOptions): Promise<void> {
  const { models, calls } = options;
  const server = scope.withTypeProvider<ZodTypeProvider>();
  // Whatever the client calls it (curl calls everything a form): sharp looks at the bytes themselves.
  scope.removeAllContentTypeParsers();
  scope.addContentTypeParser('*', (request: FastifyRequest, payload: Readable) => collect(request, payload));
  await scope.register(import('@fastify/multipart'), {
    limits: { files: 1, fields: 0, parts: 2, fileSize: options.maxBodyBytes },
  });
  await scope.register(import('@fastify/accepts'));

  server.get(
    '/explain',
    { schema: { summary: 'The models', response: { 200: modelNamesSchema } } },
    async () => ({ models: models.loaded().map(({ name }) => name) }),
  );

  server.get(
    '/explain/:model',
    {
      schema: {
        summary: 'What can be asked of a model: its layers, classes and methods',
        params: modelParams,
        response: { 200: descriptionSchema, '4xx': errorSchema, '5xx': errorSchema },
      },
    },
    async (request) => {
      const served = models.get(request.params.model);
      const leave = served.use();
      try {
        return await describeModel(served, options.hidePlaces);
      } finally {
        leave();
      }
    },
  );

  server.post(
    '/explain/:model',
    {
      config: { computes: true },
      schema: {
        summary: 'The heat over a picture: as a picture, as JSON or as NumPy array',
        params: modelParams,
        querystring: query,
        response: { 200: answerSchema, '4xx': errorSchema, '5xx': errorSchema },
      },
    },
    async (request, reply) => {
      const format = chooseFormat(request, request.query.format);
      const picture = await readPicture(request);
      const { deadline_ms: deadlineMs } = request.query;
      const answer = await calls.run(request, reply, deadlineMs, (call) =>
        explainPicture(call, picture, request.query, format, () => ({
          pending: options.pending(),
          request_id: request.id,
        })),
      );
      // It passes the schema by: Fastify sends bytes as they are.
      return reply
        .header('x-batch-size', answer.batchSize)
        .type(formats[format])
        .send(answer.body as never);
    },
  );
}

async function describeModel(
  served: ServedModel,
  hidePlaces: (text: string) => string,
): Promise<z.output<typeof descriptionSchema>> {
  const { sidecar, inputShape } = served;
  const inspection = await served.inspect();
  const [channels, height, width] = inputShape;
  const layers = inspection?.layers ?? served.model.layers();
  const chosen = served.defaultLayers ?? inspection?.suggested?.path ?? [];
  return {
    name: served.name,
    version: served.version,
    title: sidecar?.name ?? served.name,
    task: served.task,
    description: sidecar?.description ?? null,
    input: { width, height, channels },
    labels: sidecar?.labels ? [...sidecar.labels] : null,
    method: served.defaultMethod,
    methods: methodNames,
    method_options: reportMethodOptions(),
    layers: layers.map((layer: Layer | InspectedLayer) => {
      const { path, type, depth } = layer;
      const shape = 'calls' in layer ? layer.outputShapes.at(-1) : null;
      return {
        path,
        type,
        depth,
        shape: shape ? [...shape] : null,
        called: !('calls' in layer) || layer.calls > 0,
      };
    }),
    layer: [chosen]
      .flat()
      .map((layer) => (typeof layer === 'string' ? layer : spellLayer(layer.path, layer.output))),
    warnings: served.model.warnings
      .filter(({ modelMethod }) => modelMethod === 'forward')
      .map(({ code, message }) => ({ code, message: hidePlaces(message) })),
  };
}

function chooseFormat(request: FastifyRequest, asked: Format | undefined): Format {
  if (asked) return asked;
  const wanted = request.accepts().type([...Object.values(formats)]);
  const format = formatNames.find((name) => formats[name] === wanted);
  if (format) return format;
  throw Object.assign(
    invalidRequest(`None of what you accept can be given. There is: ${Object.values(formats).join(', ')}.`),
    {
      statusCode: 406,
    },
  );
}

/** The bytes of the picture, from the body or from the first file of a form. */
async function readPicture(request: FastifyRequest): Promise<Buffer> {
  if (request.isMultipart()) {
    const file = await readForm(() => request.file());
    if (!file)
      throw invalidRequest('The form has no file. Send the picture as a file of the form, or as the body.');
    return await readForm(() => file.toBuffer());
  }
  if (Buffer.isBuffer(request.body) && request.body.length > 0) return request.body;
  throw invalidRequest(
    'There is no picture. Send it as the body (curl --data-binary @cat.jpg) or as a file of a form.',
  );
}

function readDrawing(asked: Query): MapDrawing {
  const { style, colormap, image_weight: imageWeight, threshold, original } = asked;
  const drawing = { style, colormap, imageWeight, threshold, original };
  const useless = uselessFor(drawing);
  if (useless === null) return drawing;
  const name = useless === 'imageWeight' ? 'image_weight' : useless;
  throw invalidRequest(`${name} changes nothing about the style '${style}'.`);
}

/** What the parser of forms throws of a broken form has no status. */
async function readForm<T>(read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (cause) {
    if ((cause as { statusCode?: number }).statusCode !== undefined) throw cause;
    throw invalidRequest(`The form cannot be read: ${(cause as Error).message}.`, cause);
  }
}

async function explainPicture(
  call: Call,
  bytes: Uint8Array,
  asked: Query,
  format: Format,
  now: () => Pick<Answer, 'pending' | 'request_id'>,
): Promise<{ batchSize: number; body: Buffer }> {
  const wish = { classes: asked.class, boxes: asked.box, top: asked.top, texts: asked.text };
  checkWish(wish, call.model.task);
  const drawing = readDrawing(asked);
  const { model } = call;
  const method = readMethodChoice(asked.method ?? model.defaultMethod, asked.options);
  const maps = countMaps(wish);
  call.setMaps(maps);
  const started = performance.now();
  const image = await call.stage('preprocess', () => call.decode(bytes));
  const decode = performance.now() - started;
  using input = image.tensor;
  reserveMaps(call, maps, image, format, drawing.original === true);
  const asking = [{ wish, frame: frameOf(image.geometry) }];
  const [chosen] = (await call.choose([input], asking, asked.arguments)) as [ChosenTargets];
  using explanation = await call.explain(input, {
    ...method,
    layers: asked.layer,
    reshape: asked.reshape,
    targets: targetsOf([chosen]),
    arguments: asked.arguments,
    augSmooth: asked.aug_smooth,
    eigenSmooth: asked.eigen_smooth,
  });
  const { batchSize } = explanation;
  const body = await call.stage('postprocess', async () => {
    if (format === 'json')
      return await call.writeJson(describe(call, asked, image, { explanation, chosen }, decode, now()));
    const { bytes, options, pixels } = image;
    const { explained } = reportTargets(explanation, chosen, model.sidecar);
    const { shape } = explanation.heatmaps;
    return await call.draw({
      bytes,
      options,
      pixels,
      maps: { values: explanation.heatmaps.toTypedArray() as Float32Array, shape },
      captions: explained.map(targetCaption),
      drawing,
      format,
      quality: asked.quality,
    });
  });
  return { batchSize, body };
}

/** For the maps, and for the picture that is drawn of them, which may be as large as the client's. */
function reserveMaps(
  call: Call,
  maps: number,
  { width, height, geometry }: ClientPicture,
  format: Format,
  original: boolean,
): void {
  const seen = [height, width] as const;
  const drawn = original ? ([geometry.originalHeight, geometry.originalWidth] as const) : seen;
  const bytes = memoryOf(maps * height * width, format === 'json' ? 'base64' : 'none');
  const ofPixels = format === 'json' ? 0 : maps * drawn[0] * drawn[1] * (format === 'npy' ? 4 : 3);
  call.reserve(bytes + ofPixels, nameMaps(maps, format === 'json' ? seen : drawn));
}

type Explained = Answer['explained'][number];
/** The answer, before its maps are written. */
type Described = Omit<Answer, 'explained'> & {
  explained: (Omit<Explained, 'heatmap'> & {
    heatmap: Omit<Explained['heatmap'], 'data'> & { data: AnswerNumbers };
  })[];
};

function describe(
  { model, elapsed }: Call,
  { method }: Query,
  image: ClientPicture,
  { explanation, chosen }: { readonly explanation: Explanation; readonly chosen: ChosenTargets },
  decode: number,
  now: Pick<Answer, 'pending' | 'request_id'>,
): Described {
  const { scores, note, top, explained } = reportTargets(explanation, chosen, model.sidecar);
  const { geometry } = image;
  return {
    model: model.name,
    version: model.version,
    method: method ?? model.defaultMethod,
    layers: explanation.layers.map(reportLayer),
    task: model.task,
    scores,
    note,
    ...reportFound(chosen),
    top: top.map(reportClass),
    explained: explained.map((each, index) => {
      using heatmap = explanation.heatmaps.at(index);
      const map = statisticsOf(heatmap);
      return {
        ...reportExplained(each),
        mean: map.mean,
        hot_share: map.hotShare,
        peak: map.peak,
        heatmap: {
          shape: [...heatmap.shape],
          datatype: 'FP32',
          data: new AnswerNumbers(heatmap.toTypedArray(), heatmap.shape, 'base64'),
        },
      };
    }),
    image: {
      width: image.width,
      height: image.height,
      original_width: geometry.originalWidth,
      original_height: geometry.originalHeight,
      resized_width: geometry.resizedWidth,
      resized_height: geometry.resizedHeight,
      crop_left: geometry.cropLeft,
      crop_top: geometry.cropTop,
    },
    batch_size: explanation.batchSize,
    timings_ms: { decode, ...explanation.timings, total: elapsed },
    ...now,
  };
}
