import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Explanation } from '../../cam/explanation.js';
import { captionOf, describeClasses, type SuccessReport } from '../../cam/explanation-report.js';
import type { MethodOptions } from '../../cam/methods/registry.js';
import { GradCamError } from '../../errors/errors.js';
import { Explainer } from '../../explainer/explainer.js';
import { writeWholeFile } from '../../files/whole-file.js';
import { type LoadedImage, loadImage } from '../../image/load-image.js';
import type { ModelArguments } from '../../model/arguments.js';
import { type Device, loadModel } from '../../model/load-model.js';
import type { Model } from '../../model/model.js';
import type { ReshapeTransform } from '../../model/reshape-transform.js';
import type { TargetLayer } from '../../model/target-layers.js';
import { topClassTargets } from '../../targets/class-targets.js';
import { writeMaps } from '../../visualization/map-files.js';
import { exists, type ManifestClass, recordPath, resultPath, writing } from '../output/folder.js';
import { type BatchSpecification, digestOf, resultDigest } from '../specification/specification.js';

/** How a worker runs the model of a batch; no part of what comes out. */
export interface SessionOptions {
  /** Default `'cpu'`. */
  readonly device?: Device;
  /** Images in one forward, at most. Default 8. */
  readonly batchSize?: number;
  /** Where the model's file is on this machine. Default: where it was on the one that submitted. */
  readonly model?: string;
  readonly signal?: AbortSignal;
}

type ResultRecord = Pick<SuccessReport, 'scores' | 'note' | 'top' | 'explained' | 'layers'> & {
  readonly sha256: string;
};

/** A loaded model that explains pictures as a batch's specification says, and keeps the results by content. */
export class ExplainSession implements AsyncDisposable {
  readonly batchSize: number;
  readonly #specification: BatchSpecification;
  readonly #digest: string;
  readonly #model: Model;
  readonly #explainer: Explainer;

  private constructor(specification: BatchSpecification, model: Model, batchSize: number) {
    const { layers, reshapeTransform, output, scores, labels, method, options } = specification;
    this.#specification = specification;
    this.#digest = resultDigest(specification);
    this.#model = model;
    this.batchSize = batchSize;
    this.#explainer = new Explainer({
      model,
      method,
      ...(options === undefined ? {} : { options: options as MethodOptions }),
      maxBatch: batchSize,
      maxQueue: 1_000_000,
      ...(layers === undefined ? {} : { targetLayers: layers as TargetLayer[] }),
      ...(reshapeTransform === undefined ? {} : { reshapeTransform: reshapeTransform as ReshapeTransform }),
      ...(output === undefined ? {} : { output }),
      ...(scores === undefined ? {} : { scores }),
      ...(labels === undefined ? {} : { labelCount: labels.length }),
    });
  }

  /**
   * The file's hash is checked before it is loaded: a TorchScript file holds code.
   * @throws {GradCamError} `ERR_MODEL_NOT_FOUND`, `ERR_BATCH_MODEL`, `ERR_UNKNOWN_LAYER`, and those of `loadModel`
   */
  static async open(specification: BatchSpecification, options: SessionOptions): Promise<ExplainSession> {
    const { device = 'cpu', batchSize = 8, signal } = options;
    const path = options.model ?? specification.model.path;
    const { dtype, precision, arguments: given } = specification;
    const model = await loadModel(path, {
      device,
      sha256: specification.model.sha256,
      ...(dtype === undefined ? {} : { dtype }),
      ...(precision === undefined ? {} : { precision }),
      ...(given === undefined ? {} : { arguments: given as ModelArguments }),
      ...(signal === undefined ? {} : { signal }),
    }).catch((cause: GradCamError) => {
      if (cause.code !== 'ERR_MODEL_CHECKSUM') throw cause;
      throw new GradCamError(
        'ERR_BATCH_MODEL',
        `The model '${path}' is not the one the batch was submitted with. Give this worker the same file (--model), or cancel the batch and submit again.`,
        { cause, details: { path } },
      );
    });
    try {
      return new ExplainSession(specification, model, batchSize);
    } catch (error) {
      await model.dispose();
      throw error;
    }
  }

  /** Results are named by this: a hash of the content, the model and all options. */
  keyOf(sha256: string): string {
    return digestOf(`${this.#digest}:${sha256}`);
  }

  /** The file that people want, relative to the output folder. */
  outputOf(key: string): string {
    return resultPath(key, this.#specification.format);
  }

  /** The result if it is there, complete; else null. */
  async find(folder: string, key: string): Promise<ManifestClass[] | null> {
    try {
      const record = JSON.parse(await readFile(join(folder, recordPath(key)), 'utf8')) as ResultRecord;
      return (await exists(join(folder, this.outputOf(key)))) ? manifestClasses(record) : null;
    } catch {
      return null; // Not there, or cut off by a loss of power: explained again.
    }
  }

  /**
   * Explains a picture and writes its result, the record last.
   * @throws {GradCamError} `ERR_IMAGE_LOAD`, `ERR_BATCH_FOLDER`, and those of `Explainer.explain`
   */
  async explain(
    folder: string,
    content: Uint8Array,
    sha256: string,
    signal: AbortSignal,
  ): Promise<ManifestClass[]> {
    const { labels, output, scores, drawing, format } = this.#specification;
    const image = await loadImage(content, this.#specification.image);
    using explanation = await this.#run(image, signal);
    const described = describeClasses(explanation, { labels, output, scores });
    const key = this.keyOf(sha256);
    const captions = described.explained.map(captionOf);
    const record: ResultRecord = { sha256, ...described, layers: explanation.layers };
    await writing(folder, async () => {
      if (format !== 'none')
        await writeMaps(image, explanation, captions, drawing, join(folder, this.outputOf(key)));
      await writeWholeFile(join(folder, recordPath(key)), `${JSON.stringify(record)}\n`);
    });
    return manifestClasses(record);
  }

  /** Explains a picture and keeps nothing: whether layers, classes and the picture's size fit the model. */
  async tryOut(content: Uint8Array): Promise<void> {
    using _ = await this.#run(await loadImage(content, this.#specification.image));
  }

  #run({ tensor }: LoadedImage, signal?: AbortSignal): Promise<Explanation> {
    const { classes, top, augSmooth, eigenSmooth } = this.#specification;
    return this.#explainer.explain(tensor, {
      targets: [classes ?? topClassTargets(top)],
      augSmooth,
      eigenSmooth,
      ...(signal === undefined ? {} : { signal }),
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#explainer.dispose();
    await this.#model.dispose();
  }
}

function manifestClasses({ explained }: ResultRecord): ManifestClass[] {
  return explained.map(({ map: _, ...rest }) => rest);
}
