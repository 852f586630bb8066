import type { Explanation } from '../../../cam/explanation.js';
import type { ModelArguments } from '../../../model/arguments.js';
import { type ModelOutput, selectOutput } from '../../../model/output.js';
import { spellLayer } from '../../../model/target-layers.js';
import { Tensor, type TensorData } from '../../../tensor/tensor.js';
import type { Call } from '../../calls/call.js';
import { invalidRequest } from '../../http/errors.js';
import type { ExplainChoice } from '../../models/served-model.js';
import { memoryOf, type NumberForm } from '../map-memory.js';
import type { InferBody } from './schemas.js';
import { joinTensors, type NamedTensor, nameTensor, type ReadInput } from './tensors.js';

/** `output` is the model's own; the others are of explains, one row for each image and class. */
export const outputNames = ['output', 'heatmap', 'scores', 'classes', 'images'] as const;
const ofExplains: readonly string[] = outputNames.filter((name) => name !== 'output');
const explainParameters = [
  'method',
  'layer',
  'class',
  'reshape',
  'upsample',
  'aug_smooth',
  'eigen_smooth',
] as const;

/** What a request asks for of an output. */
export type AskedOutput = NonNullable<InferBody['outputs']>[number];

/** The answer to an inference, before its tensors are written. */
export interface InferResult {
  readonly head: {
    model_name: string;
    model_version: string;
    id?: string;
    parameters?: Record<string, string | number>;
  };
  readonly outputs: readonly { readonly tensor: NamedTensor; readonly asked: AskedOutput }[];
}

/** How the tensors of a request are carried, over HTTP or gRPC. */
export interface TensorCarrier<Answer> {
  /** The inputs of the body, in order. */
  read(): ReadInput[];
  /** How the numbers of an output are written. */
  formOf(output: string): NumberForm;
  write(result: InferResult): Answer | Promise<Answer>;
}

/** Images that are explained together, with the position of the first of them in the request. */
interface Part {
  readonly tensors: readonly Tensor[];
  readonly images: number;
  readonly start: number;
}

/**
 * Milliseconds that a request gives itself: ours, or Triton's `timeout`, in microseconds and 0 for none. Undefined where it
 * says nothing.
 */
export function ownDeadline({ parameters }: Pick<InferBody, 'parameters'>): number | undefined {
  const { deadline_ms: own, timeout = 0 } = parameters ?? {};
  return own ?? (timeout > 0 ? Math.ceil(timeout / 1000) : undefined);
}

export async function infer<Answer>(
  call: Call,
  body: InferBody,
  carrier: TensorCarrier<Answer>,
): Promise<Answer> {
  const asked = body.parameters ?? {};
  const wanted = body.outputs?.map(({ name }) => name);
  const explains =
    wanted?.some((name) => ofExplains.includes(name)) ||
    explainParameters.some((name) => asked[name] !== undefined) ||
    body.inputs.some(({ name }) => name === 'class');
  const { inputs, classes } = await call.stage('preprocess', () => {
    const read = carrier.read();
    return {
      inputs: read.filter(({ name }) => name !== 'class'),
      classes: read.find(({ name }) => name === 'class'),
    };
  });
  const images = countImages(inputs);
  const choice = explains ? readChoice(call, asked) : null;
  const targets = explains ? readClasses(call, asked.class, classes, images) : undefined;
  const maps = targets?.reduce((sum, { length }) => sum + length, 0) ?? images;
  call.setMaps(maps);
  reserveMemory(call, body, carrier, inputs, explains ? maps : 0);
  const parts = await call.stage('preprocess', () => splitIntoParts(call, inputs, images));
  const results = await call.each(parts, async (part) => {
    try {
      return choice
        ? await explainPart(call, part, choice, targets)
        : await predictPart(call, carrier, part, asked.arguments);
    } finally {
      for (const tensor of part.tensors) tensor.dispose();
    }
  });
  return await call.stage('postprocess', () => carrier.write(gather(call, body, results)));
}

function countImages(inputs: readonly ReadInput[]): number {
  const [first] = inputs;
  if (!first) throw invalidRequest('There is no input beside class.');
  const images = first.shape[0] ?? 0;
  const other = inputs.find(({ shape }) => shape[0] !== images);
  if (other)
    throw invalidRequest(
      `The input ${first.name} has ${images} images, but ${other.name} ${other.shape[0]}.`,
    );
  return images;
}

/** For the inputs, and for maps of the inputs' size; smaller ones are counted when they are there. */
function reserveMemory(
  call: Call,
  body: InferBody,
  carrier: TensorCarrier<unknown>,
  inputs: readonly ReadInput[],
  maps: number,
): void {
  const [first] = inputs as readonly [ReadInput];
  const [channels, ...preparedSize] = call.model.inputShape;
  const prepared = 'elements' in first;
  const values = prepared ? first.elements.length * channels * product(preparedSize) : 0;
  call.reserve(4 * values, `${first.shape[0]} pictures`);
  if (maps === 0 || body.parameters?.upsample === false) return;
  const size = prepared ? preparedSize : first.shape.slice(2);
  const bytes = memoryOf(maps * product(size), carrier.formOf('heatmap'));
  call.reserve(bytes, `${maps} maps of ${[...size].reverse().join(' x ')}`);
}

const product = (shape: readonly number[]): number => shape.reduce((size, length) => size * length, 1);

/** Numbers in slices of the largest batch; of pictures each by itself, so that all share batches with what else waits. */
async function splitIntoParts(call: Call, inputs: readonly ReadInput[], images: number): Promise<Part[]> {
  const [first] = inputs as readonly [ReadInput];
  if ('elements' in first) {
    if (inputs.length > 1) throw invalidRequest('Pictures (BYTES) are for models with one input.');
    return await call.each(
      first.elements,
      async (element, start) => {
        const { tensor } = await call.decode(element);
        return { tensors: [tensor], images: 1, start };
      },
      ({ tensors: [tensor] }) => tensor?.dispose(),
    );
  }
  const parts: Part[] = [];
  const { largestPart } = call.model;
  for (let start = 0; start < images; start += largestPart) {
    const length = Math.min(largestPart, images - start);
    const tensors = inputs.map((input) => {
      if ('elements' in input)
        throw invalidRequest(`The input ${input.name} is BYTES, but ${first.name} is not.`);
      const [, ...inner] = input.shape;
      const step = product(inner);
      const values = input.values.subarray(start * step, (start + length) * step) as TensorData;
      return Tensor.from(values, [length, ...inner]);
    });
    parts.push({ tensors, images: length, start });
  }
  return parts;
}

function readChoice(call: Call, asked: NonNullable<InferBody['parameters']>): ExplainChoice {
  const { method, layer, reshape, upsample, aug_smooth: augSmooth, eigen_smooth: eigenSmooth } = asked;
  return {
    arguments: asked.arguments,
    method: method ?? call.model.defaultMethod,
    reshape,
    upsample,
    layers: layer?.split(',').map((path) => path.trim()),
    augSmooth,
    eigenSmooth,
  };
}

/** For each image its classes, from the input `class`, or from the parameter for all; undefined for those predicted. */
function readClasses(
  call: Call,
  forAll: number | string | undefined,
  input: ReadInput | undefined,
  images: number,
): number[][] | undefined {
  if (input === undefined) {
    if (forAll === undefined) return undefined;
    const category = call.model.findClass(forAll);
    return Array.from({ length: images }, () => [category]);
  }
  if (forAll !== undefined) throw invalidRequest('Give class as a parameter or as an input, not both.');
  if (
    'elements' in input ||
    input.shape[0] !== images ||
    input.shape.length > 2 ||
    input.values.length < images
  )
    throw invalidRequest(`The input class needs numbers of shape [${images}] or [${images}, classes].`);
  const perImage = input.values.length / images;
  return Array.from({ length: images }, (_, index) =>
    Array.from(
      input.values.subarray(index * perImage, (index + 1) * perImage) as ArrayLike<number | bigint>,
      Number,
    ),
  );
}

interface PartResult {
  readonly tensors: readonly NamedTensor[];
  readonly parameters: Record<string, string | number>;
}

async function explainPart(
  call: Call,
  { tensors, images, start }: Part,
  choice: ExplainChoice,
  classes: number[][] | undefined,
): Promise<PartResult> {
  const targets = classes?.slice(start, start + images);
  using explanation = await call.explain(tensors, { ...choice, targets });
  const output = selectOutput(explanation.outputs, call.model.sidecar?.output);
  return {
    tensors: [...nameOutputs(output), ...nameMaps(explanation, start)],
    parameters: {
      method: choice.method ?? '',
      layer: explanation.layers.map(({ path, output }) => spellLayer(path, output)).join(','),
      batch_size: explanation.batchSize,
      queue_ms: explanation.timings.queue,
      compute_ms: computeTime(explanation),
    },
  };
}

function computeTime({ timings: { plan, forward, backward, cam } }: Explanation): number {
  return plan + forward + backward + cam;
}

function nameMaps({ heatmaps, maps }: Explanation, start: number): NamedTensor[] {
  const shape = [maps.length];
  return [
    nameTensor('heatmap', heatmaps),
    { name: 'scores', shape, datatype: 'FP32', values: Float32Array.from(maps, ({ score }) => score) },
    {
      name: 'classes',
      shape,
      datatype: 'INT64',
      values: BigInt64Array.from(maps, ({ classIndex }) => BigInt(classIndex ?? -1)),
    },
    {
      name: 'images',
      shape,
      datatype: 'INT64',
      values: BigInt64Array.from(maps, ({ imageIndex }) => BigInt(start + imageIndex)),
    },
  ];
}

async function predictPart(
  call: Call,
  carrier: TensorCarrier<unknown>,
  { tensors }: Part,
  given: ModelArguments | undefined,
): Promise<PartResult> {
  const output = await call.predict(tensors, given);
  const named = nameOutputs(output);
  for (const { name, values, shape } of named)
    call.reserve(
      memoryOf(values.length, carrier.formOf(name)),
      `The output ${name} of [${shape.join(', ')}]`,
    );
  return { tensors: named, parameters: {} };
}

/** The tensors of a model's output: `output`, or for several `output.KEY`. */
function nameOutputs(output: ModelOutput, name = 'output'): NamedTensor[] {
  if (output instanceof Tensor) return [nameTensor(name, output)];
  if (typeof output !== 'object' || output === null) return [];
  return Object.entries(output).flatMap(([key, inner]) => nameOutputs(inner, `${name}.${key}`));
}

/** The outputs that were asked for, each of all parts. */
function gather(call: Call, { id, outputs }: InferBody, results: readonly PartResult[]): InferResult {
  const names = results[0]?.tensors.map(({ name }) => name) ?? [];
  const asked: readonly AskedOutput[] = outputs ?? names.map((name) => ({ name }));
  const twice = asked.find(({ name }, index) => asked.findIndex((other) => other.name === name) < index);
  if (twice) throw invalidRequest(`The output ${twice.name} is asked for twice.`);
  const [first] = results;
  return {
    head: {
      model_name: call.model.name,
      model_version: call.model.version,
      ...(id === undefined ? {} : { id }),
      ...(first && Object.keys(first.parameters).length > 0 ? { parameters: first.parameters } : {}),
    },
    outputs: asked.map((output) => {
      if (!names.includes(output.name))
        throw invalidRequest(`There is no output ${output.name}. There is: ${names.join(', ')}.`);
      const parts = results.flatMap(({ tensors }) => tensors.filter(({ name }) => name === output.name));
      return { tensor: joinTensors(parts), asked: output };
    }),
  };
}
