import type { Explanation } from '../../../cam/explanation.js';
import { GradCamError } from '../../../errors/errors.js';
import type { ModelArguments } from '../../../model/arguments.js';
import { type ModelOutput, selectOutput } from '../../../model/output.js';
import { spellLayer } from '../../../model/target-layers.js';
import { pathToDetections } from '../../../targets/detections.js';
import { elementCount } from '../../../tensor/element-count.js';
import { Tensor, type TensorData } from '../../../tensor/tensor.js';
import type { Call } from '../../calls/call.js';
import { invalidRequest } from '../../http/errors.js';
import type { ExplainChoice } from '../../models/served-model.js';
import { type ChosenTargets, countMaps, type TargetWish } from '../../targets/choice.js';
import { targetsOf } from '../../targets/choose-targets.js';
import { frameOf, inputFrame, type PictureFrame } from '../../targets/picture-frame.js';
import { similaritiesOf } from '../../targets/report.js';
import { memoryOf, type NumberForm } from '../map-memory.js';
import { readMethodChoice } from '../method-options.js';
import type { InferBody } from './schemas.js';
import { isTargetInput, readWishes } from './target-inputs.js';
import { joinTensors, type NamedTensor, nameTensor, type ReadInput } from './tensors.js';

/** Outputs of explains, one row for each image and target: `boxes` of detectors, `similarities` of CLIPs. */
const ofExplains = ['heatmap', 'scores', 'classes', 'images', 'boxes', 'similarities'];
const explainParameters = [
  'method',
  'options',
  'layer',
  'class',
  'box',
  'texts',
  'top',
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
  readonly frame: PictureFrame;
}

/** What Triton's clients can ask of an output besides. */
const outputExtensions = ['classification', 'shared_memory_region'];

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
  for (const { name, parameters = {} } of body.outputs ?? []) {
    const asked = outputExtensions.find((each) => parameters[each] !== undefined);
    if (asked) throw new GradCamError('ERR_UNSUPPORTED', `The output ${name} cannot be given with ${asked}.`);
  }
  const asked = body.parameters ?? {};
  const wanted = body.outputs?.map(({ name }) => name);
  const explains =
    wanted?.some((name) => ofExplains.includes(name)) ||
    explainParameters.some((name) => asked[name] !== undefined) ||
    body.inputs.some(({ name }) => isTargetInput(name));
  const { inputs, wanted: wantedInputs } = await call.stage('preprocess', () => {
    const read = carrier.read();
    return {
      inputs: read.filter(({ name }) => !isTargetInput(name)),
      wanted: read.filter(({ name }) => isTargetInput(name)),
    };
  });
  const images = countImages(inputs);
  const choice = explains ? readChoice(call, asked) : null;
  const wishes = explains ? readWishes(call, asked, wantedInputs, images) : [];
  const maps = explains ? wishes.reduce((sum, wish) => sum + countMaps(wish), 0) : images;
  call.setMaps(maps);
  reserveMemory(call, body, carrier, inputs, explains ? maps : 0);
  const parts = await call.stage('preprocess', () => splitIntoParts(call, inputs, images));
  const results = await call.each(parts, async (part) => {
    try {
      return choice
        ? await explainPart(call, part, choice, wishes)
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
  const values = prepared ? first.elements.length * channels * elementCount(preparedSize) : 0;
  call.reserve(4 * values, `${first.shape[0]} pictures`);
  if (maps === 0 || body.parameters?.upsample === false) return;
  const size = prepared ? preparedSize : first.shape.slice(2);
  const bytes = memoryOf(maps * elementCount(size), carrier.formOf('heatmap'));
  call.reserve(bytes, `${maps} maps of ${[...size].reverse().join(' x ')}`);
}

/** Numbers in slices of the largest batch; of pictures each by itself, so that all share batches with what else waits. */
async function splitIntoParts(call: Call, inputs: readonly ReadInput[], images: number): Promise<Part[]> {
  const [first] = inputs as readonly [ReadInput];
  if ('elements' in first) {
    if (inputs.length > 1) throw invalidRequest('Pictures (BYTES) are for models with one input.');
    return await call.each(
      first.elements,
      async (element, start) => {
        const { tensor, geometry } = await call.decode(element);
        return { tensors: [tensor], images: 1, start, frame: frameOf(geometry) };
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
      const step = elementCount(inner);
      const values = input.values.subarray(start * step, (start + length) * step) as TensorData;
      return Tensor.from(values, [length, ...inner]);
    });
    parts.push({ tensors, images: length, start, frame: inputFrame });
  }
  return parts;
}

function readChoice(call: Call, asked: NonNullable<InferBody['parameters']>): ExplainChoice {
  const { method, layer, reshape, upsample, aug_smooth: augSmooth, eigen_smooth: eigenSmooth } = asked;
  return {
    arguments: asked.arguments,
    ...readMethodChoice(method ?? call.model.defaultMethod, asked.options),
    reshape,
    upsample,
    layers: layer?.split(',').map((path) => path.trim()),
    augSmooth,
    eigenSmooth,
  };
}

interface PartResult {
  readonly tensors: readonly NamedTensor[];
  readonly parameters: Record<string, string | number>;
}

async function explainPart(
  call: Call,
  { tensors, images, start, frame }: Part,
  choice: ExplainChoice,
  wishes: readonly TargetWish[],
): Promise<PartResult> {
  const { model } = call;
  const asking = wishes.slice(start, start + images).map((wish) => ({ wish, frame }));
  const chosen = await call.choose(tensors, asking, choice.arguments);
  using explanation = await call.explain(tensors, { ...choice, targets: targetsOf(chosen) });
  const output = selectOutput(explanation.outputs, model.sidecar?.output);
  return {
    tensors: [...nameOutputs(call, output, start), ...nameMaps(explanation, call, chosen, start)],
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

function nameMaps(
  explanation: Explanation,
  { model }: Call,
  chosen: readonly ChosenTargets[],
  start: number,
): NamedTensor[] {
  const { heatmaps, maps } = explanation;
  const shape = [maps.length];
  const targets = maps.map(({ imageIndex, targetIndex }) => chosen[imageIndex]?.explained?.[targetIndex]);
  const boxes = targets.flatMap((target) => target?.box?.corners ?? []);
  const similarities = model.task === 'clip' ? similaritiesOf(explanation, chosen) : [];
  const ofMaps = (name: string, values: readonly number[], more: readonly number[] = []): NamedTensor[] =>
    values.length === 0
      ? []
      : [{ name, shape: [...shape, ...more], datatype: 'FP32', values: Float32Array.from(values) }];
  return [
    nameTensor('heatmap', heatmaps),
    { name: 'scores', shape, datatype: 'FP32', values: Float32Array.from(maps, ({ score }) => score) },
    {
      name: 'classes',
      shape,
      datatype: 'INT64',
      values: BigInt64Array.from(maps, ({ classIndex, targetIndex }, index) =>
        BigInt(classIndex ?? targets[index]?.classIndex ?? (model.task === 'clip' ? targetIndex : -1)),
      ),
    },
    {
      name: 'images',
      shape,
      datatype: 'INT64',
      values: BigInt64Array.from(maps, ({ imageIndex }) => BigInt(start + imageIndex)),
    },
    ...ofMaps('boxes', boxes, [4]),
    ...ofMaps('similarities', similarities),
  ];
}

async function predictPart(
  call: Call,
  carrier: TensorCarrier<unknown>,
  { tensors, start }: Part,
  given: ModelArguments | undefined,
): Promise<PartResult> {
  const output = await call.predict(tensors, given);
  const named = nameOutputs(call, output, start);
  for (const { name, values, shape } of named)
    call.reserve(
      memoryOf(values.length, carrier.formOf(name)),
      `The output ${name} of [${shape.join(', ')}]`,
    );
  return { tensors: named, parameters: {} };
}

/**
 * The tensors of a model's output: `output`, or for several `output.KEY`. What a model gives for each image of a list, as
 * detectors do, bears the image's position in the request.
 */
function nameOutputs({ model }: Call, output: ModelOutput, start: number): NamedTensor[] {
  const listed = model.model.takesImageList ? pathToDetections(output) : null;
  const name = (
    value: ModelOutput,
    path: string,
    list: readonly (string | number)[] | null,
  ): NamedTensor[] => {
    if (value instanceof Tensor) return [nameTensor(path, value)];
    if (typeof value !== 'object' || value === null) return [];
    return Object.entries(value).flatMap(([key, inner]) => {
      const position = list?.length === 0 ? start + Number(key) : key;
      const inside = list !== null && String(list[0]) === key ? list.slice(1) : null;
      return name(inner, `${path}.${position}`, inside);
    });
  };
  return name(output, 'output', listed);
}

/** The outputs that were asked for, each of all parts. */
function gather(call: Call, { id, outputs }: InferBody, results: readonly PartResult[]): InferResult {
  const names = [...new Set(results.flatMap(({ tensors }) => tensors.map(({ name }) => name)))];
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
