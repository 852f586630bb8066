import { InvalidArgumentError, Option } from 'commander';
import { UsageError } from '../../errors/usage-error.js';
import { readTextFile } from '../../files/text-file.js';
import type { Fit } from '../../image/geometry.js';
import type { LoadImageOptions } from '../../image/options.js';
import type { ModelArgument, ModelArguments } from '../../model/arguments.js';
import { type Device, loadModel } from '../../model/load-model.js';
import type { Model } from '../../model/model.js';
import type { ReshapeTransform } from '../../model/reshape-transform.js';
import { parseLabels } from '../../sidecar/labels.js';
import { imageOptions, loadSidecar, modelOptions, type Sidecar } from '../../sidecar/sidecar.js';
import { wrap } from '../terminal/wrap-text.js';

/** For options that may be given several times. */
export function collect(value: string, previous: string[] | undefined): string[] {
  return [...(previous ?? []), value];
}

export function parseCount(value: string): number {
  const count = Number(value);
  if (!Number.isInteger(count) || count < 1)
    throw new InvalidArgumentError('It must be an integer of at least 1.');
  return count;
}

export function parseWeight(value: string): number {
  const weight = Number(value);
  if (value.trim() === '' || !(weight >= 0 && weight <= 1))
    throw new InvalidArgumentError('It must be from 0 to 1.');
  return weight;
}

/** "0.485,0.456,0.406" */
export function parseNumbers(value: string): number[] {
  const numbers = value.split(',').map((part) => (part.trim() === '' ? Number.NaN : Number(part)));
  if (numbers.some((number) => !Number.isFinite(number))) {
    throw new InvalidArgumentError('It must be numbers with commas between them, such as 0.485,0.456,0.406.');
  }
  return numbers;
}

/** "0,4095" */
export function parseRange(value: string): [number, number] {
  const [low = 0, high = 0, ...more] = parseNumbers(value);
  if (more.length > 0 || !(low < high))
    throw new InvalidArgumentError('It must be a low and a higher number, such as 0,4095.');
  return [low, high];
}

/** "224", "224x320" (height x width) or "1x3x224x224". */
export function parseInputSize(value: string): number[] {
  const sizes = value.toLowerCase().split('x').map(Number);
  if (sizes.some((size) => !Number.isInteger(size) || size < 1) || sizes.length > 5) {
    throw new InvalidArgumentError('It must be a size such as 224, 224x320 (height x width) or 1x3x224x224.');
  }
  return sizes;
}

/** "nhwc", "tokens", "tokens:1" (prefix tokens), "tokens:1:14x21" (and the grid), or "none" in spite of the sidecar. */
export function parseReshape(value: string): ReshapeTransform | 'none' {
  if (value === 'nhwc' || value === 'tokens' || value === 'featurePyramid' || value === 'none') return value;
  const [, prefix, , height, width] = /^tokens:(\d+)(:(\d+)x(\d+))?$/.exec(value) ?? [];
  if (prefix === undefined)
    throw new InvalidArgumentError(
      "It must be 'tokens', 'tokens:1', 'tokens:1:14x21', 'nhwc', 'featurePyramid' or 'none'.",
    );
  return {
    kind: 'tokens',
    prefixTokens: Number(prefix),
    ...(height === undefined ? {} : { grid: [Number(height), Number(width)] }),
  };
}

/** As {@link parseReshape} reads it. */
export function reshapeName(reshape: ReshapeTransform): string {
  if (typeof reshape === 'string') return reshape;
  if (reshape.kind !== 'tokens') return reshape.kind;
  const { prefixTokens, grid } = reshape;
  return ['tokens', prefixTokens ?? [], grid?.join('x') ?? []].flat().join(':');
}

export function fitOption(otherwise = 'what the sidecar says, or crop'): Option {
  return new Option('--fit <how>', `how pictures of other shapes fit; default: ${otherwise}`).choices([
    'crop',
    'stretch',
    'contain',
  ]);
}

/** How pictures are prepared, as the command line says it. */
export interface PreparationFlags {
  readonly size?: number[];
  readonly fit?: Fit;
  readonly resize?: number;
  readonly mean?: number[];
  readonly std?: number[];
  readonly range?: [number, number];
}

/** The sidecar's preparation, or the ImageNet defaults, with what the command line changes. */
export function preparation(sidecar: Sidecar | null, flags: PreparationFlags): LoadImageOptions {
  const [height, width = height] = flags.size ?? [];
  if (flags.size && flags.size.length > 2)
    throw new UsageError('--size takes one number, or height x width.');
  const { resize, paddingColor, ...base } = sidecar ? imageOptions(sidecar) : {};
  const fit = flags.fit ?? base.fit ?? 'crop';
  if (flags.resize !== undefined && fit === 'contain')
    throw new UsageError(`--resize has no meaning with fit '${fit}'; add --fit crop or stretch.`);
  return {
    ...base,
    fit,
    // Another size makes the sidecar's shorter side meaningless, another fit both.
    ...(resize === undefined || flags.size || fit !== (base.fit ?? 'crop') ? {} : { resize }),
    ...(paddingColor === undefined || fit !== 'contain' ? {} : { paddingColor }),
    ...(height !== undefined && width !== undefined ? { size: { width, height } } : {}),
    ...(flags.resize === undefined ? {} : { resize: flags.resize }),
    ...(flags.mean === undefined ? {} : { mean: flags.mean }),
    ...(flags.std === undefined ? {} : { std: flags.std }),
    ...(flags.range === undefined ? {} : { range: flags.range }),
  };
}

export interface LayerFlags {
  readonly layer?: string[];
  readonly reshape?: ReshapeTransform | 'none';
}

/** Labels from a file: a JSON array, or one label a line. */
export async function readLabels(path: string): Promise<string[]> {
  let text: string;
  try {
    text = await readTextFile(path);
  } catch (error) {
    throw new UsageError(`--labels: cannot read '${path}': ${(error as Error).message}`);
  }
  const labels = parseLabels(text);
  if (labels) return labels;
  throw new UsageError(
    `--labels: '${path}' is neither a JSON array of strings nor a text with one label a line.`,
  );
}

/** What must be known of a model, in lines that fit a terminal. */
export function warningLines(model: Model): string[] {
  return model.warnings.flatMap(({ message }) => wrap(`Warning: ${message}`, 80));
}

/** Tells on standard error what must be known of a model, once for a command. */
export function printWarnings(model: Model): void {
  for (const line of warningLines(model)) console.error(line);
}

/** How a model is opened, as the command line says it. */
export interface ModelFlags {
  readonly device: string;
  readonly argument?: ModelArguments;
}

/** For parameters of the model that are no tensors. */
export function argumentOption(): Option {
  return new Option(
    '--argument <name=value>',
    "of the model's forward, beside the image: sr=16000, in JSON or as text; may be repeated",
  ).argParser(parseArgument);
}

/** "sr=16000": JSON, and what is no JSON a text. */
function parseArgument(value: string, previous: ModelArguments | undefined): ModelArguments {
  const [, name, text = ''] = /^([^=]+)=(.*)$/s.exec(value) ?? [];
  if (name === undefined) throw new InvalidArgumentError('It must be a name and a value, such as sr=16000.');
  let argument: ModelArgument;
  try {
    argument = JSON.parse(text) as ModelArgument;
  } catch {
    argument = text;
  }
  return { ...previous, [name]: argument };
}

/** The model with its sidecar, if there is one beside it. */
export async function openModel(
  path: string,
  { device, argument = {} }: ModelFlags,
  signal: AbortSignal,
): Promise<{ model: Model; sidecar: Sidecar | null }> {
  const sidecar = await loadSidecar(path);
  const model = await loadModel(
    path,
    modelOptions(sidecar, { device: device as Device, arguments: argument, signal }),
  );
  return { model, sidecar };
}
