import type { Explanation } from '../../../cam/explanation.js';
import type { ModelArguments } from '../../../model/arguments.js';
import { type ModelOutput, selectOutput } from '../../../model/output.js';
import { spellLayer } from '../../../model/target-layers.js';
import { pathToDetections } from '../../../targets/detections.js';
import { Tensor, type TensorData } from '../../../tensor/tensor.js';
import type { Call } from '../../calls/call.js';
import { invalidRequest } from '../../http/errors.js';
import type { ExplainChoice } from '../../models/served-model.js';
import type { ChosenTargets, TargetWish } from '../../targets/choice.js';
import { targetsOf } from '../../targets/choose-targets.js';
import { frameOf, inputFrame, type PictureFrame } from '../../targets/picture-frame.js';
import { similaritiesOf } from '../../targets/report.js';
import { readMethodChoice } from '../method-options.js';
import type { InferBody } from './schemas.js';
import { isTargetInput, readWishes } from './target-inputs.js';
import {
  joinTensors,
  type NamedTensor,
  nameTensor,
  type ReadInput,
  readInputs,
  type WrittenOutput,
  writeOutput,
} from './tensors.js';

/** `output` is the model's own; the others are of explains, one row for each image and target. `boxes` are detectors', `similarities` of CLIPs. */
export const outputNames = [
  'output',
  'heatmap',
  'scores',
  'classes',
  'images',
  'boxes',
  'similarities',
] as const;
const ofExplains: readonly string[] = outputNames.filter((name) => name !== 'output');
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

export interface InferAnswer {
  readonly json: {
    model_name: string;
    model_version: string;
    id?: string;
    parameters?: Record<string, string | number>;
    outputs: WrittenOutput[];
  };
  /** What goes behind the JSON, in order; empty where all is in it. */
  readonly bytes: Buffer[];
}

/** Images that are explained together, with the position of the first of them in the request. */
interface Part {
  readonly tensors: readonly Tensor[];
  readonly images: number;
  readonly start: number;
  readonly frame: PictureFrame;
}

export async function infer(call: Call, body: InferBody, binary: Buffer | null): Promise<InferAnswer> {
  const asked = body.parameters ?? {};
  const wanted = body.outputs?.map(({ name }) => name);
  const explains =
    wanted?.some((name) => ofExplains.includes(name)) ||
    explainParameters.some((name) => asked[name] !== undefined) ||
    body.inputs.some(({ name }) => isTargetInput(name));
  const { inputs, wanted: wantedInputs } = await call.stage('preprocess', () => {
    const read = readInputs(body.inputs, binary);
    return {
      inputs: read.filter(({ name }) => !isTargetInput(name)),
      wanted: read.filter(({ name }) => isTargetInput(name)),
    };
  });
  const images = countImages(inputs);
  call.setImages(images);
  const choice = explains ? readChoice(call, asked) : null;
  const wishes = explains ? readWishes(call, asked, wantedInputs, images) : [];
  const parts = await call.stage('preprocess', () => splitIntoParts(call, inputs, images));
  const results = await Promise.all(
    parts.map(async (part) => {
      try {
        return choice
          ? await explainPart(call, part, choice, wishes)
          : await predictPart(call, part, asked.arguments);
      } finally {
        for (const tensor of part.tensors) tensor.dispose();
      }
    }),
  );
  return await call.stage('postprocess', () => write(call, body, results));
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

/** Numbers in slices of the largest batch; of pictures each by itself, so that all share batches with what else waits. */
async function splitIntoParts(call: Call, inputs: readonly ReadInput[], images: number): Promise<Part[]> {
  const [first] = inputs as readonly [ReadInput];
  if ('elements' in first) {
    if (inputs.length > 1) throw invalidRequest('Pictures (BYTES) are for models with one input.');
    return await Promise.all(
      first.elements.map(async (element, start) => {
        const { tensor, geometry } = await call.decode(element);
        return { tensors: [tensor], images: 1, start, frame: frameOf(geometry) };
      }),
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
      const step = inner.reduce((product, size) => product * size, 1);
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
  { tensors, start }: Part,
  given: ModelArguments | undefined,
): Promise<PartResult> {
  const output = await call.predict(tensors, given);
  const named = nameOutputs(call, output, start);
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

function write(
  call: Call,
  { id, parameters, outputs }: InferBody,
  results: readonly PartResult[],
): InferAnswer {
  const names = [...new Set(results.flatMap(({ tensors }) => tensors.map(({ name }) => name)))];
  const asked: NonNullable<InferBody['outputs']> = outputs ?? names.map((name) => ({ name }));
  const bytes: Buffer[] = [];
  const written = asked.map((output) => {
    if (!names.includes(output.name))
      throw invalidRequest(`There is no output ${output.name}. There is: ${names.join(', ')}.`);
    const parts = results.flatMap(({ tensors }) => tensors.filter(({ name }) => name === output.name));
    const own = output.parameters?.binary_data;
    const result = writeOutput(
      joinTensors(parts),
      own === undefined ? parameters?.binary_data_output === true : own === true,
    );
    if (result.bytes) bytes.push(result.bytes);
    return result.json;
  });
  const [first] = results;
  return {
    json: {
      model_name: call.model.name,
      model_version: call.model.version,
      ...(id === undefined ? {} : { id }),
      ...(first && Object.keys(first.parameters).length > 0 ? { parameters: first.parameters } : {}),
      outputs: written,
    },
    bytes,
  };
}
