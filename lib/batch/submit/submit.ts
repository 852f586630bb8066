import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { JobsOptions } from 'bullmq';
import { packageVersion } from '../../addon/package-version.js';
import { checkMethodChoice, type MethodName, type MethodOptions } from '../../cam/methods/registry.js';
import { argumentOutOfRange, GradCamError, invalidArgumentType } from '../../errors/errors.js';
import { checkSignal, readOptions } from '../../errors/options.js';
import { writeWholeFile } from '../../files/whole-file.js';
import { findPictures } from '../../image/find-pictures.js';
import { checkOptions as checkImageOptions, type LoadImageOptions } from '../../image/options.js';
import { checkArguments, type ModelArguments } from '../../model/arguments.js';
import { modelDigest } from '../../model/file-checks.js';
import type { Device } from '../../model/load-model.js';
import type { ReshapeTransform } from '../../model/reshape-transform.js';
import type { TargetLayer } from '../../model/target-layers.js';
import { findClass } from '../../sidecar/labels.js';
import { imageOptions, loadSidecar, readSidecar, type Sidecar } from '../../sidecar/sidecar.js';
import type { MapDrawing } from '../../visualization/draw-maps.js';
import { chunkListPath, readChunkManifest, writeSpecification, writing } from '../output/folder.js';
import { type BatchHeader, Ledger, summaryOfEarlier } from '../queue/ledger.js';
import { type BatchQueueOptions, checkAddress, OpenQueue, orRedisError } from '../queue/redis.js';
import { type Chunk, chunksOf } from '../specification/chunks.js';
import {
  type BatchFormat,
  type BatchSpecification,
  batchId,
  specificationSchema,
} from '../specification/specification.js';
import { ExplainSession } from '../worker/explain-session.js';

export interface SubmitBatchOptions extends BatchQueueOptions {
  /** TorchScript file. Its sidecar, if there is one, says what is not said here. */
  readonly model: string;
  /** A file to take as its sidecar instead; false for none. */
  readonly sidecar?: string | false;
  /** Files, folders (all pictures below them) and patterns such as `photos/**\/*.jpg`. */
  readonly images?: readonly string[];
  /** A text file with one path a line, or `-` for standard input. */
  readonly list?: string;
  /** Folder for the results; it must be at the same path for all workers. */
  readonly output: string;
  /** Images in a chunk, from 1 to 10,000. Default 64. */
  readonly chunkSize?: number;
  /** Default `'gradcam'`. */
  readonly method?: MethodName;
  /** What the method takes beside what all do, in values that JSON holds. Default: its defaults. */
  readonly options?: MethodOptions;
  /** Default: the sidecar's, or else the suggested one. */
  readonly targetLayers?: TargetLayer | readonly TargetLayer[];
  /** For layers of transformers. Default: the sidecar's; `'none'`: none in spite of it. */
  readonly reshapeTransform?: ReshapeTransform | 'none';
  /** Indexes or labels of classes to explain. Default: the likeliest one of each image. */
  readonly classes?: readonly (number | string)[];
  /** Instead: how many of the likeliest classes of each image. Default 1. */
  readonly top?: number;
  readonly augSmooth?: boolean;
  readonly eigenSmooth?: boolean;
  /**
   * For the parameters of the model's forward that are no tensors, by name: values that JSON holds. Each goes before the
   * sidecar's of its name.
   */
  readonly arguments?: ModelArguments;
  /** How pictures are prepared. Default: as the sidecar says, or as for ImageNet. */
  readonly image?: LoadImageOptions;
  /** Names of the classes. Default: the sidecar's. */
  readonly labels?: readonly string[];
  /** Default `'png'`. */
  readonly format?: BatchFormat;
  /** How maps are drawn. Default: an overlay on what the model saw. */
  readonly drawing?: MapDrawing;
  /** How often a chunk is tried that fails for a reason that may pass, such as a full disk. Default 3. */
  readonly attempts?: number;
  /** Explain the first readable picture before anything is queued, so that a mistake shows now. Default true. */
  readonly tryOut?: boolean;
  /** For trying out. Default `'cpu'`. */
  readonly device?: Device;
  /** Called as pictures are found. */
  readonly onProgress?: (found: { readonly images: number; readonly chunks: number }) => void;
  readonly signal?: AbortSignal;
}

/** What was submitted. */
export interface SubmittedBatch {
  readonly batch: string;
  /** Absolute. */
  readonly output: string;
  readonly images: number;
  readonly chunks: number;
  /** Of the chunks those that had been finished before. */
  readonly chunksDone: number;
  /** Of the chunks those that waited or ran already. */
  readonly chunksQueued: number;
}

/** Chunks that are looked up and put into the queue at once. */
const groupSize = 32;

/**
 * Puts a job over many pictures into the queue, in chunks. Submitting the same again does nothing twice: finished chunks
 * stay finished, waiting ones wait once, failed ones are tried again, and pictures that came or changed since are added.
 * @throws {GradCamError} `ERR_REDIS`, `ERR_MODEL_NOT_FOUND`, `ERR_BATCH_FOLDER`, `ERR_SIDECAR`, `ERR_UNKNOWN_LABEL`,
 *   `ERR_IMAGE_LOAD` for a folder that cannot be read, and what trying out the first picture meets
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, `ERR_UNKNOWN_OPTION`
 * @example await submitBatch({ model: 'model.pt', images: ['photos'], output: 'out' });
 */
export async function submitBatch(options: SubmitBatchOptions): Promise<SubmittedBatch> {
  const given = checkSubmitOptions(options);
  const address = checkAddress(given);
  const { chunkSize = 64, attempts = 3, onProgress, signal } = given;
  await using open = await OpenQueue.open(address);
  const specification = await specify(given);
  const folder = resolve(given.output);
  const batch = batchId(specification, folder);
  const { images: paths = [], list } = given;
  const pictures = findPictures({
    paths,
    except: folder,
    ...(list === undefined ? {} : { list }),
    ...(signal === undefined ? {} : { signal }),
  });
  const submission = new Submission(open, new Ledger(open.client, address.queue), batch, folder, attempts);
  try {
    await submission.enrol();
    let group: Chunk[] = [];
    for await (const chunk of chunksOf(absolute(pictures), batch, chunkSize)) {
      signal?.throwIfAborted();
      if (submission.counts.chunks === 0) {
        if (given.tryOut ?? true) await tryOut(specification, chunk.images, given);
        await submission.begin(specification);
      }
      submission.list(chunk);
      group.push(chunk);
      if (group.length === groupSize) {
        await Promise.all(group.map((each) => submission.enqueue(each)));
        group = [];
      }
      onProgress?.(submission.counts);
    }
    if (submission.counts.chunks === 0)
      throw invalidArgumentType('images', 'at least one picture', [...paths, list ?? ''].join(' '));
    await Promise.all(group.map((each) => submission.enqueue(each)));
    await submission.end();
  } catch (error) {
    throw orRedisError(address, error);
  }
  return { batch, output: folder, ...submission.counts };
}

/** What is put into the queue, the output folder and the ledger for a batch. */
class Submission {
  readonly counts = { images: 0, chunks: 0, chunksDone: 0, chunksQueued: 0 };
  readonly #open: OpenQueue;
  readonly #ledger: Ledger;
  readonly #batch: string;
  readonly #folder: string;
  readonly #jobOptions: JobsOptions;
  readonly #chunks = new Map<string, number>();
  #number = 0;
  #header: BatchHeader | undefined;

  constructor(open: OpenQueue, ledger: Ledger, batch: string, folder: string, attempts: number) {
    this.#open = open;
    this.#ledger = ledger;
    this.#batch = batch;
    this.#folder = folder;
    this.#jobOptions = {
      attempts,
      backoff: { type: 'exponential', delay: 1000 },
      // For dashboards; what is done is known from the output folder.
      removeOnComplete: { count: 1000 },
    };
  }

  /** Before the first file is looked for. */
  async enrol(): Promise<void> {
    this.#number = await this.#ledger.beginSubmission(this.#batch);
  }

  async begin(specification: BatchSpecification): Promise<void> {
    await writeSpecification(this.#folder, this.#batch, specification);
    this.#header = {
      model: specification.model.path,
      method: specification.method,
      folder: this.#folder,
      submittedAt: Date.now(),
      complete: false,
    };
    await this.#ledger.openBatch(this.#batch, this.#header);
  }

  list({ id, images }: Chunk): void {
    this.#chunks.set(id, images.length);
    this.counts.images += images.length;
    this.counts.chunks++;
  }

  async enqueue({ id, images }: Chunk): Promise<void> {
    await this.#ledger.addChunk(this.#batch, id, images.length);
    const earlier = await readChunkManifest(this.#folder, this.#batch, id);
    if (earlier) {
      this.counts.chunksDone++;
      if (!(await this.#ledger.isFinished(this.#batch, id)))
        await this.#ledger.finishChunk(this.#batch, id, summaryOfEarlier(earlier));
      return;
    }
    const { queue } = this.#open;
    const state = await queue.getJobState(id);
    // One that is completed without a manifest: the output was deleted.
    if (state === 'completed' || state === 'failed') await queue.remove(id);
    else if (state !== 'unknown') this.counts.chunksQueued++;
    const data = { version: packageVersion, batch: this.#batch, folder: this.#folder, images: [...images] };
    await queue.add('explain', data, { ...this.#jobOptions, jobId: id });
  }

  /**
   * Writes the list of chunks, and takes chunks back that an earlier submission had and this one has not. Of several
   * submissions at once the one that began last does so: it has seen the newest files.
   */
  async end(): Promise<void> {
    if (!(await this.#ledger.isNewest(this.#batch, this.#number))) return;
    const lines = Array.from(this.#chunks, ([chunk, images]) => `${JSON.stringify({ chunk, images })}\n`);
    await writing(this.#folder, () =>
      writeWholeFile(chunkListPath(this.#folder, this.#batch), lines.join('')),
    );
    for (const chunk of (await this.#ledger.chunks(this.#batch)).keys()) {
      if (this.#chunks.has(chunk)) continue;
      await this.#open.queue.remove(chunk).catch(() => {}); // One that runs ends by itself.
      await this.#ledger.dropChunk(this.#batch, chunk);
    }
    if (this.#header) await this.#ledger.openBatch(this.#batch, { ...this.#header, complete: true });
  }
}

async function* absolute(paths: AsyncIterable<string>): AsyncGenerator<string> {
  for await (const path of paths) yield resolve(path);
}

/** Everything that decides what comes out, from the options and the model's sidecar. */
async function specify(given: SubmitBatchOptions): Promise<BatchSpecification> {
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
    sources: [...(given.images ?? []).map((source) => resolve(source)), ...listSource(given.list)],
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

function listSource(list: string | undefined): string[] {
  if (list === undefined) return [];
  return [`list:${list === '-' ? list : resolve(list)}`];
}

/** For a file: what JSON does not hold, or would turn into something else, is refused. */
function argumentsInJson(all: ModelArguments): ModelArguments | undefined {
  const { given, key } = checkArguments(all);
  if (Object.keys(given).length === 0) return undefined;
  const text = JSON.stringify(given, (_key, value) => (typeof value === 'bigint' ? null : value));
  if (checkArguments(JSON.parse(text)).key === key) return given;
  throw invalidArgumentType('arguments', 'values that JSON holds', all);
}

/** Explains the first picture that can be read, so that a wrong layer, class or size is told now and not by workers. */
async function tryOut(
  specification: BatchSpecification,
  images: readonly string[],
  { device, signal }: SubmitBatchOptions,
): Promise<void> {
  await using session = await ExplainSession.open(specification, {
    ...(device === undefined ? {} : { device }),
    ...(signal === undefined ? {} : { signal }),
  });
  for (const path of images) {
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

function checkSubmitOptions(options: SubmitBatchOptions): SubmitBatchOptions {
  const given = readOptions<SubmitBatchOptions>('batch options', options, [
    'redis',
    'queue',
    'model',
    'sidecar',
    'images',
    'list',
    'output',
    'chunkSize',
    'method',
    'options',
    'targetLayers',
    'reshapeTransform',
    'arguments',
    'classes',
    'top',
    'augSmooth',
    'eigenSmooth',
    'image',
    'labels',
    'format',
    'drawing',
    'attempts',
    'tryOut',
    'device',
    'onProgress',
    'signal',
  ]);
  for (const name of ['model', 'output'] as const) {
    if (typeof given[name] !== 'string' || given[name] === '')
      throw invalidArgumentType(name, 'a path', given[name]);
  }
  const { images = [], list } = given;
  if (!Array.isArray(images) || images.some((path) => typeof path !== 'string'))
    throw invalidArgumentType('images', 'an array of paths', images);
  if (list !== undefined && typeof list !== 'string') throw invalidArgumentType('list', 'a path', list);
  if (images.length === 0 && list === undefined)
    throw invalidArgumentType('images', 'files, folders or patterns (or a list)', images);
  const { sidecar } = given;
  if (sidecar !== undefined && sidecar !== false && typeof sidecar !== 'string')
    throw invalidArgumentType('sidecar', 'a path or false', sidecar);
  checkMethodChoice(given);
  checkArguments(given.arguments);
  if (given.classes !== undefined && given.top !== undefined)
    throw invalidArgumentType('top', 'nothing where there are classes', given.top);
  checkInteger('chunkSize', given.chunkSize ?? 64, 10_000);
  checkInteger('attempts', given.attempts ?? 3, 100);
  checkSignal(given.signal);
  return given;
}

function checkInteger(name: string, value: number, most: number): void {
  if (!Number.isInteger(value) || value < 1 || value > most)
    throw argumentOutOfRange(name, `an integer from 1 to ${most}`, value);
}
