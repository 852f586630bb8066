import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { packageVersion } from '../../addon/package-version.js';
import { checkMethodChoice } from '../../cam/methods/registry.js';
import { GradCamError, invalidArgumentType } from '../../errors/errors.js';
import { findPictures } from '../../image/find-pictures.js';
import { checkOptions as checkImageOptions } from '../../image/options.js';
import { checkArguments, type ModelArguments } from '../../model/arguments.js';
import { modelDigest } from '../../model/file-checks.js';
import { findClass } from '../../sidecar/labels.js';
import { imageOptions, loadSidecar, readSidecar, type Sidecar } from '../../sidecar/sidecar.js';
import type { ExplainSession } from '../explaining/explain-session.js';
import { type Chunk, chunksOf } from '../specification/chunks.js';
import {
  type BatchSpecification,
  batchDigest,
  batchId,
  specificationSchema,
} from '../specification/specification.js';
import type { BatchOptions } from './options.js';
import { PictureList } from './picture-list.js';

/** A batch as its options say, and its pictures, before anything of it is done. */
export class PreparedBatch implements AsyncDisposable {
  readonly id: string;
  /** The whole hash of what it is, of which the id is the beginning. */
  readonly digest: string;
  readonly specification: BatchSpecification;
  /** The output folder, absolute. */
  readonly folder: string;
  readonly #given: BatchOptions;
  readonly #list: PictureList | null;

  private constructor(given: BatchOptions, specification: BatchSpecification, list: PictureList | null) {
    this.specification = specification;
    this.folder = resolve(given.output);
    this.digest = batchDigest(specification, this.folder);
    this.id = batchId(this.digest);
    this.#given = given;
    this.#list = list;
  }

  /**
   * Reads the sidecar and the list, and hashes the model.
   * @throws {GradCamError} `ERR_MODEL_NOT_FOUND`, `ERR_SIDECAR`, `ERR_UNKNOWN_LABEL`
   * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`
   */
  static async of(given: BatchOptions): Promise<PreparedBatch> {
    const list = given.list === undefined ? null : await PictureList.read(given.list, given.signal);
    try {
      return new PreparedBatch(given, await specify(given, list), list);
    } catch (error) {
      await list?.[Symbol.asyncDispose]();
      throw error;
    }
  }

  /**
   * Looks for the pictures.
   * @throws {TypeError} `ERR_INVALID_ARG_TYPE` for a path that does not exist, and where there is no picture
   * @throws {GradCamError} `ERR_IMAGE_LOAD` for a folder that cannot be read
   */
  async *chunks(): AsyncGenerator<Chunk> {
    const { images: paths = [], list, chunkSize = 64, signal } = this.#given;
    const pictures = findPictures({
      paths,
      except: this.folder,
      ...(this.#list ? { listed: this.#list.paths() } : {}),
    });
    let isEmpty = true;
    for await (const chunk of chunksOf(absolute(pictures), this.id, chunkSize)) {
      signal?.throwIfAborted();
      yield chunk;
      isEmpty = false;
    }
    if (isEmpty)
      throw invalidArgumentType('images', 'at least one picture', [...paths, list ?? ''].join(' '));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#list?.[Symbol.asyncDispose]();
  }
}

async function* absolute(paths: AsyncIterable<string>): AsyncGenerator<string> {
  for await (const path of paths) yield resolve(path);
}

/** Everything that decides what comes out, from the options and the model's sidecar. */
async function specify(given: BatchOptions, list: PictureList | null): Promise<BatchSpecification> {
  const path = resolve(given.model);
  const sha256 = await modelDigest(path, given.signal);
  if (sha256 === null) throw invalidArgumentType('model', 'a file', given.model);
  const sidecar = await sidecarOf(path, given.sidecar);
  const choice = checkMethodChoice(given);
  const labels = given.labels ?? sidecar?.labels;
  const reshapeTransform = given.reshapeTransform ?? sidecar?.reshapeTransform;
  const image = given.image ?? (sidecar ? imageOptions(sidecar) : {});
  checkImageOptions(image);
  const specification = {
    version: packageVersion,
    model: { path, sha256 },
    dtype: sidecar?.dtype,
    precision: sidecar?.precision,
    arguments: argumentsInJson({ ...sidecar?.arguments, ...given.arguments }),
    method: choice.method,
    options: Object.keys(choice.options).length > 0 ? choice.options : undefined,
    layers: given.targetLayers ?? sidecar?.layer,
    reshapeTransform: reshapeTransform === 'none' ? undefined : reshapeTransform,
    output: sidecar?.output,
    scores: sidecar?.scores,
    classes: given.classes?.map((wanted) =>
      typeof wanted === 'number' ? wanted : findClass(labels, wanted),
    ),
    top: given.top ?? 1,
    augSmooth: given.augSmooth ?? false,
    eigenSmooth: given.eigenSmooth ?? false,
    image,
    format: given.format ?? 'png',
    drawing: { style: 'overlay', ...given.drawing },
    labels,
    sources: [
      ...(given.images ?? []).map((source) => resolve(source)),
      ...(list ? [`list:${list.digest}`] : []),
    ],
  };
  const parsed = specificationSchema.safeParse(JSON.parse(JSON.stringify(specification)));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const name = issue?.path.join('.') ?? 'options';
  throw invalidArgumentType(name, issue?.message ?? 'valid options', issue?.input);
}

async function sidecarOf(model: string, sidecar: string | false | undefined): Promise<Sidecar | null> {
  if (sidecar === false) return null;
  if (sidecar === undefined) return await loadSidecar(model);
  const read = await readSidecar(sidecar);
  if (read === null) throw invalidArgumentType('sidecar', 'a file', sidecar);
  return read;
}

/** For a file: what JSON does not hold, or would turn into something else, is refused. */
function argumentsInJson(all: ModelArguments): ModelArguments | undefined {
  const { given, key } = checkArguments(all);
  if (Object.keys(given).length === 0) return undefined;
  const text = JSON.stringify(given, (_key, value) => (typeof value === 'bigint' ? null : value));
  if (checkArguments(JSON.parse(text)).key === key) return given;
  throw invalidArgumentType('arguments', 'values that JSON holds', all);
}

/** Explains the first picture that can be read, so that a wrong layer, class or size is told before any work is. */
export async function tryOut(session: ExplainSession, { files }: Chunk): Promise<void> {
  for (const [path] of files) {
    const content = await readFile(path).catch(() => null);
    if (content === null) continue;
    try {
      await session.tryOut(content);
      return;
    } catch (error) {
      if (!(error instanceof GradCamError) || error.code !== 'ERR_IMAGE_LOAD') throw error;
    }
  }
}
