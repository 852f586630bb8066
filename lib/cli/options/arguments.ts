import { type Command, InvalidArgumentError, Option } from 'commander';
import { UsageError } from '../../errors/usage-error.js';
import { readTextFile } from '../../files/text-file.js';
import type { ModelArgument, ModelArguments } from '../../model/arguments.js';
import { type Device, loadModel } from '../../model/load-model.js';
import type { Model } from '../../model/model.js';
import type { ReshapeTransform } from '../../model/reshape-transform.js';
import { parseLabels } from '../../sidecar/labels.js';
import { loadSidecar, modelOptions, readSidecar, type Sidecar } from '../../sidecar/sidecar.js';
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
  /** A file instead of the one beside the model; false for none. */
  readonly sidecar?: string | false;
}

/** Adds the options that say how a model is opened. */
export function addModelOptions(command: Command, device = "'cpu', 'cuda', 'cuda:N' or 'auto'"): Command {
  return command
    .option('--device <device>', device, 'cpu')
    .addOption(argumentOption())
    .option('--sidecar <file>', 'what describes the model, instead of model.json beside model.pt')
    .option('--no-sidecar', 'take no notice of a sidecar');
}

/** The sidecar that the command line says; null where there is none. */
export async function sidecarOf(
  modelPath: string,
  { sidecar }: Pick<ModelFlags, 'sidecar'>,
): Promise<Sidecar | null> {
  if (sidecar === false) return null;
  if (sidecar === undefined) return await loadSidecar(modelPath);
  const read = await readSidecar(sidecar);
  if (read === null) throw new UsageError(`--sidecar: there is no file '${sidecar}'.`);
  return read;
}

/** For parameters of the model that are no tensors. */
export function argumentOption(): Option {
  return new Option(
    '--argument <name=value>',
    "of the model's forward, beside the image: sr=16000, in JSON or as text; may be repeated",
  ).argParser(assignments('sr=16000'));
}

/** "sr=16000" and more of the kind, by name: JSON, and what is no JSON a text. */
export function assignments(example: string) {
  return (value: string, previous: ModelArguments | undefined): ModelArguments => {
    const [, name, text = ''] = /^([^=]+)=(.*)$/s.exec(value) ?? [];
    if (name === undefined)
      throw new InvalidArgumentError(`It must be a name and a value, such as ${example}.`);
    let argument: ModelArgument;
    try {
      argument = JSON.parse(text) as ModelArgument;
    } catch {
      argument = text;
    }
    return { ...previous, [name]: argument };
  };
}

/** A model as its sidecar says, and the command line instead. */
export async function loadDescribed(
  path: string,
  sidecar: Sidecar | null,
  { device, argument = {} }: ModelFlags,
  signal: AbortSignal,
): Promise<Model> {
  return await loadModel(
    path,
    modelOptions(sidecar, { device: device as Device, arguments: argument, signal }),
  );
}
