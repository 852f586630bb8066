import { dirname, resolve } from 'node:path';
import type { z } from 'zod';
import type { CAMOptions } from '../cam/base-cam.js';
import { GradCamError } from '../errors/errors.js';
import { filePath } from '../files/file-path.js';
import { readTextFile } from '../files/text-file.js';
import type { LoadImageOptions } from '../image/options.js';
import type { ModelArguments } from '../model/arguments.js';
import type { LoadModelOptions } from '../model/load-model.js';
import type { OutputSelector } from '../model/output.js';
import type { ReshapeTransform } from '../model/reshape-transform.js';
import type { Scores } from '../model/scores.js';
import type { TargetLayer } from '../model/target-layers.js';
import { parseLabels } from './labels.js';
import { sidecarSchema, type tasks } from './schema.js';

/** How a model's input is made of a picture: what {@link loadImage} takes, with the size in two numbers. */
export interface SidecarInput extends Omit<LoadImageOptions, 'size' | 'limitInputPixels'> {
  readonly width: number;
  readonly height: number;
}

/** A classifier gives outputs for classes, a segmentation model for pixels, a detector boxes with labels and scores. */
export type Task = (typeof tasks)[number];

/** What a model expects and what its outputs mean: `model.json` beside `model.pt`. docs/sidecar.md describes it. */
export interface Sidecar {
  readonly name?: string;
  readonly description?: string;
  readonly license?: string;
  readonly source?: string;
  readonly input: SidecarInput;
  readonly dtype?: NonNullable<LoadModelOptions['dtype']>;
  readonly precision?: NonNullable<LoadModelOptions['precision']>;
  /** For the parameters of the model's method that are no tensors, by name. */
  readonly arguments?: ModelArguments;
  readonly layer?: TargetLayer | readonly TargetLayer[];
  readonly reshapeTransform?: ReshapeTransform;
  readonly output?: OutputSelector;
  /** What the model does, and so what of it the server explains. Default `'classification'`. */
  readonly task?: Task;
  /** What the outputs are. Default: what their values tell for certain, and else logits. */
  readonly scores?: Scores;
  /** A name for each class. Where the file names another file of labels, that has been read. */
  readonly labels?: readonly string[];
}

/** The file that describes a model: the model's name with .json instead of its extension. */
export function sidecarPath(modelPath: string | URL): string {
  return `${filePath(modelPath).replace(/\.[^./\\]+$/, '')}.json`;
}

/**
 * Reads a model's sidecar; null where there is none.
 * @param modelPath - the model's path, or a `file:` URL of it
 * @throws {GradCamError} `ERR_SIDECAR` for one that is not valid, or whose file of labels is not
 */
export async function loadSidecar(modelPath: string | URL): Promise<Sidecar | null> {
  return await readSidecar(sidecarPath(modelPath));
}

/**
 * Reads a sidecar of any name; null where there is no such file.
 * @throws as {@link loadSidecar}
 * @internal
 */
export async function readSidecar(path: string): Promise<Sidecar | null> {
  let text: string;
  try {
    text = await readTextFile(path);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw sidecarError(path, (cause as Error).message, cause);
  }
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (cause) {
    throw sidecarError(path, `it is not JSON: ${(cause as Error).message}`, cause);
  }
  const parsed = sidecarSchema.safeParse(content);
  if (!parsed.success) throw sidecarError(path, describeIssues(parsed.error.issues), parsed.error);
  const { $schema: _, labels, ...sidecar } = parsed.data;
  return {
    ...sidecar,
    ...(labels === undefined ? {} : { labels: await readLabels(path, labels) }),
  } as Sidecar;
}

async function readLabels(path: string, labels: string | readonly string[]): Promise<readonly string[]> {
  if (typeof labels !== 'string') return labels;
  const file = resolve(dirname(path), labels);
  let text: string;
  try {
    text = await readTextFile(file);
  } catch (cause) {
    throw sidecarError(path, `labels: cannot read '${file}': ${(cause as Error).message}`, cause);
  }
  const read = parseLabels(text);
  if (read) return read;
  throw sidecarError(path, `labels: '${file}' holds neither one label a line nor a JSON array of strings`);
}

function describeIssues(issues: readonly z.core.$ZodIssue[], within: readonly PropertyKey[] = []): string {
  return issues
    .map((issue) => {
      const where = [...within, ...issue.path];
      // Of what is allowed in several forms: the form that fits best, which is where the mistake lies deepest.
      const depths = issue.code === 'invalid_union' ? issue.errors.map(depthOf) : [];
      const deepest = Math.max(0, ...depths);
      if (issue.code === 'invalid_union' && deepest > 0)
        return describeIssues(issue.errors[depths.indexOf(deepest)] ?? [], where);
      return `${where.map(String).join('.') || 'the file'}: ${issue.message}`;
    })
    .join('; ');
}

function depthOf(issues: readonly z.core.$ZodIssue[]): number {
  return Math.max(...issues.map(({ path }) => path.length));
}

function sidecarError(path: string, problem: string, cause?: unknown): GradCamError {
  // What is wrong may be named by megabytes of text.
  const told = problem.length > 1000 ? `${problem.slice(0, 1000)} ...` : problem;
  return new GradCamError('ERR_SIDECAR', `The sidecar '${path}' is not valid: ${told}.`, {
    ...(cause === undefined ? {} : { cause }),
    details: { path },
  });
}

/**
 * How a model is loaded that has this sidecar, or none; an option that is given goes before it, of `arguments` each.
 * @internal
 */
export function modelOptions(sidecar: Sidecar | null, options: LoadModelOptions = {}): LoadModelOptions {
  const dtype = options.dtype ?? sidecar?.dtype;
  const precision = options.precision ?? sidecar?.precision;
  const given = sidecar?.arguments && { ...sidecar.arguments, ...options.arguments };
  return {
    ...options,
    ...(given ? { arguments: given } : {}),
    ...(dtype === undefined ? {} : { dtype }),
    ...(precision === undefined ? {} : { precision }),
  };
}

/**
 * What of a model is explained: the sidecar's layer, reshape transform and output, with what is asked for instead.
 * @internal
 */
export function explainedPart(
  sidecar: Sidecar | null,
  asked: {
    readonly layer?: Sidecar['layer'] | undefined;
    readonly reshape?: ReshapeTransform | 'none' | undefined;
    readonly labels?: readonly string[] | undefined;
  } = {},
): Omit<CAMOptions, 'model'> {
  const targetLayers = asked.layer ?? sidecar?.layer;
  const reshapeTransform = asked.reshape ?? sidecar?.reshapeTransform;
  const labels = asked.labels ?? sidecar?.labels;
  // Of pixels and boxes none is one of two sides.
  const classifies = (sidecar?.task ?? 'classification') === 'classification';
  return {
    ...(targetLayers === undefined ? {} : { targetLayers }),
    ...(reshapeTransform === undefined || reshapeTransform === 'none' ? {} : { reshapeTransform }),
    ...(sidecar?.output === undefined ? {} : { output: sidecar.output }),
    ...(sidecar?.scores === undefined || !classifies ? {} : { scores: sidecar.scores }),
    ...(labels === undefined || !classifies ? {} : { labelCount: labels.length }),
  };
}

/** The options for `loadImage` that a sidecar asks for. */
export function imageOptions({ input }: Sidecar): LoadImageOptions {
  const { width, height, ...rest } = input;
  return { size: { width, height }, ...rest };
}
