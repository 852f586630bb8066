import { readFile } from 'node:fs/promises';
import { InvalidArgumentError } from 'commander';
import type { LoadImageOptions } from '../image/load-image.js';
import { type Device, loadModel, type Model } from '../model.js';
import { imageOptions, loadSidecar, type Sidecar } from '../sidecar.js';
import { UsageError } from './exit-codes.js';

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

/** "224", "224x320" (height x width) or "1x3x224x224". */
export function parseInputSize(value: string): number[] {
  const sizes = value.toLowerCase().split('x').map(Number);
  if (sizes.some((size) => !Number.isInteger(size) || size < 1) || sizes.length > 5) {
    throw new InvalidArgumentError('It must be a size such as 224, 224x320 (height x width) or 1x3x224x224.');
  }
  return sizes;
}

/** How pictures are prepared, as the command line says it. */
export interface PreparationFlags {
  readonly size?: number[];
  readonly resize?: number;
  readonly mean?: number[];
  readonly std?: number[];
}

/** The sidecar's preparation, or the ImageNet defaults, with what the command line changes. */
export function preparation(sidecar: Sidecar | null, flags: PreparationFlags): LoadImageOptions {
  const [height, width = height] = flags.size ?? [];
  if (flags.size && flags.size.length > 2)
    throw new UsageError('--size takes one number, or height x width.');
  const base = sidecar ? imageOptions(sidecar) : {};
  // Another size makes the sidecar's shorter side meaningless.
  const { resize: _, ...withoutResize } = base;
  return {
    ...(flags.size ? withoutResize : base),
    ...(height !== undefined && width !== undefined ? { size: { width, height } } : {}),
    ...(flags.resize === undefined ? {} : { resize: flags.resize }),
    ...(flags.mean === undefined ? {} : { mean: flags.mean }),
    ...(flags.std === undefined ? {} : { std: flags.std }),
  };
}

/** Labels from a file: a JSON array, or one label a line. */
export async function readLabels(path: string): Promise<string[]> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    throw new UsageError(`--labels: cannot read '${path}': ${(error as Error).message}`);
  }
  if (!text.trimStart().startsWith('[')) return text.trimEnd().split(/\r?\n/);
  try {
    const labels: unknown = JSON.parse(text);
    if (Array.isArray(labels) && labels.every((label) => typeof label === 'string')) return labels;
  } catch {
    // told below
  }
  throw new UsageError(
    `--labels: '${path}' is neither a JSON array of strings nor a text with one label a line.`,
  );
}

/** The model with its sidecar, if there is one beside it. */
export async function openModel(
  path: string,
  device: string,
  signal: AbortSignal,
): Promise<{ model: Model; sidecar: Sidecar | null }> {
  const sidecar = await loadSidecar(path);
  const dtype = sidecar?.dtype;
  const model = await loadModel(path, { device: device as Device, signal, ...(dtype ? { dtype } : {}) });
  return { model, sidecar };
}
