import { createHash } from 'node:crypto';
import { z } from 'zod';
import { type MethodName, methodNames } from '../../cam/methods/registry.js';
import type { LoadImageOptions } from '../../image/options.js';
import { checkArguments } from '../../model/arguments.js';
import { sidecarSchema } from '../../sidecar/schema.js';
import { type ColormapName, colormapNames } from '../../visualization/colours/colormaps.js';
import { type MapDrawing, mapStyles } from '../../visualization/draw-maps.js';
import { mapFormats } from '../../visualization/map-files.js';

/** What is written for each picture: drawn maps, raw maps (`npy`, `json`), or with `none` only classes and scores. */
export const batchFormats = [...mapFormats, 'none'] as const;

/** One of {@link batchFormats}. */
export type BatchFormat = (typeof batchFormats)[number];

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);

const drawingSchema: z.ZodType<MapDrawing> = z.strictObject({
  style: z.enum(mapStyles).exactOptional(),
  colormap: z.enum(colormapNames as [ColormapName, ...ColormapName[]]).exactOptional(),
  imageWeight: z.number().min(0).max(1).exactOptional(),
  threshold: z.number().gt(0).max(1).exactOptional(),
  original: z.boolean().exactOptional(),
});

// The same as in a sidecar.
const {
  dtype,
  precision,
  arguments: modelArguments,
  layer,
  reshapeTransform,
  output,
  scores,
} = sidecarSchema.shape;

/** `batch.json`: what is computed for every picture of a batch, complete, so that no worker needs another file. */
export const specificationSchema = z.strictObject({
  /** Of node-gradcam. */
  version: z.string(),
  model: z.strictObject({ path: z.string(), sha256 }),
  dtype: dtype.unwrap().exactOptional(),
  precision: precision.unwrap().exactOptional(),
  arguments: modelArguments.unwrap().exactOptional(),
  method: z.enum(methodNames as [MethodName, ...MethodName[]]),
  /** Of the method, as its class checks them. */
  options: z.record(z.string(), z.json()).exactOptional(),
  layers: layer.unwrap().exactOptional(),
  reshapeTransform: reshapeTransform.unwrap().exactOptional(),
  output: output.unwrap().exactOptional(),
  scores: scores.unwrap().exactOptional(),
  /** These classes, or else the `top` likeliest. */
  classes: z.array(z.number().int().nonnegative()).min(1).exactOptional(),
  top: z.number().int().positive(),
  augSmooth: z.boolean(),
  eigenSmooth: z.boolean(),
  /** As `loadImage` checks it. */
  image: z.custom<LoadImageOptions>((value) => typeof value === 'object' && value !== null),
  drawing: drawingSchema,
  format: z.enum(batchFormats),
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
  // The order of a dictionary's entries is one's own to a model.
  const given = rest.arguments && { arguments: checkArguments(rest.arguments).key };
  return digestOf(canonicalJson({ ...rest, ...given, model: model.sha256 }));
}

/** The same specification, sources and output folder are the same batch: submitting it again goes on with it. */
export function batchId(specification: BatchSpecification, folder: string): string {
  const { sources } = specification;
  return digestOf(canonicalJson([resultDigest(specification), sources, folder])).slice(0, 16);
}
