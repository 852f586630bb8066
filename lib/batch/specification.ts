import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { z } from 'zod';
import { type MethodName, methodNames } from '../cam/methods.js';
import { GradCamError } from '../errors.js';
import type { LoadImageOptions } from '../image/load-image.js';

/** What is written for each picture: the heat over it, the heatmaps as float32 numbers, or the figures only. */
export type BatchFormat = 'overlay' | 'npy' | 'json';

/** The formats by name. */
export const batchFormats = ['overlay', 'npy', 'json'] as const satisfies readonly BatchFormat[];

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const imageSize = z.union([z.number(), z.object({ width: z.number(), height: z.number() })]);

const imageSchema: z.ZodType<LoadImageOptions> = z.strictObject({
  size: imageSize.exactOptional(),
  resize: z.number().exactOptional(),
  interpolation: z.enum(['nearest', 'bilinear', 'bicubic', 'lanczos']).exactOptional(),
  mean: z.array(z.number()).exactOptional(),
  std: z.array(z.number()).exactOptional(),
  channels: z.union([z.literal(1), z.literal(3)]).exactOptional(),
  limitInputPixels: z.number().exactOptional(),
});

/** `batch.json`: what is computed for every picture of a batch, complete, so that no worker needs another file. */
export const specificationSchema = z.strictObject({
  /** Of node-gradcam. */
  version: z.string(),
  model: z.strictObject({ path: z.string(), sha256 }),
  dtype: z.enum(['auto', 'float16', 'bfloat16', 'float32', 'float64']).exactOptional(),
  method: z.enum(methodNames as [MethodName, ...MethodName[]]),
  layers: z.array(z.string()).min(1).exactOptional(),
  output: z.union([z.string(), z.number(), z.array(z.union([z.string(), z.number()]))]).exactOptional(),
  /** These classes, or else the `top` likeliest. */
  classes: z.array(z.number().int().nonnegative()).min(1).exactOptional(),
  top: z.number().int().positive(),
  augSmooth: z.boolean(),
  eigenSmooth: z.boolean(),
  image: imageSchema,
  format: z.enum(batchFormats),
  imageWeight: z.number().min(0).max(1),
  labels: z.array(z.string()).exactOptional(),
  /** Folders, files and patterns as they were given. */
  sources: z.array(z.string()),
});

/** What is computed for every picture of a batch. */
export type BatchSpecification = z.infer<typeof specificationSchema>;

/** What a worker is given: some pictures of a batch. The specification is in the output folder. */
export const chunkSchema = z.strictObject({
  version: z.string(),
  batch: z.string(),
  /** Absolute path of the output folder. */
  folder: z.string(),
  images: z.array(z.string()).min(1),
});

export type ChunkData = z.infer<typeof chunkSchema>;

/** Hexadecimal SHA-256 of text or bytes. */
export function digestOf(content: string | Uint8Array): string {
  return createHash('sha256').update(content).digest('hex');
}

/** Short for a text in a set of very many: 32 bytes. */
export function markOf(text: string): string {
  return createHash('sha256').update(text).digest().toString('latin1');
}

/** JSON with sorted keys, so that equal values give equal text. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, each: unknown) =>
    typeof each === 'object' && each !== null && !Array.isArray(each)
      ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1)))
      : each,
  );
}

/** Of all that decides what comes out for a picture. Neither where the model lies nor which pictures there are does. */
export function resultDigest({ sources: _, model, ...rest }: BatchSpecification): string {
  return digestOf(canonicalJson({ ...rest, model: model.sha256 }));
}

/** The same specification, sources and output folder are the same batch: submitting it again goes on with it. */
export function batchId(specification: BatchSpecification, folder: string): string {
  const { sources } = specification;
  return digestOf(canonicalJson([resultDigest(specification), sources, folder])).slice(0, 16);
}

/** @throws {GradCamError} `ERR_MODEL_NOT_FOUND` */
export async function fileSha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  try {
    for await (const piece of createReadStream(path)) hash.update(piece as Buffer);
  } catch (cause) {
    throw new GradCamError(
      'ERR_MODEL_NOT_FOUND',
      `Cannot read the model '${path}': ${(cause as Error).message}.`,
      { cause, details: { path } },
    );
  }
  return hash.digest('hex');
}
