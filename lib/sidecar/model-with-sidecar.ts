import type { CAMOptions } from '../cam/base-cam.js';
import { GradCamError, invalidArgumentType } from '../errors/errors.js';
import { filePath } from '../files/file-path.js';
import { type ImageSource, type LoadedImage, loadImage } from '../image/load-image.js';
import type { LoadImageOptions } from '../image/options.js';
import { type LoadModelOptions, loadModel } from '../model/load-model.js';
import type { Model } from '../model/model.js';
import { findClass } from './labels.js';
import { adjusted } from './preparation.js';
import {
  explainedPart,
  imageOptions,
  loadSidecar,
  modelOptions,
  type Sidecar,
  sidecarPath,
} from './sidecar.js';

/**
 * Loads a model together with its sidecar (`model.json` beside `model.pt`, docs/sidecar.md), which says how pictures are
 * prepared, which layer to explain, and what the classes are called. `gradcam init-sidecar model.pt` writes one.
 * @param file - the model's path, or a `file:` URL
 * @param options - as for {@link loadModel}; `dtype`, `precision` and each of `arguments` go before the sidecar's
 * @throws {GradCamError} `ERR_SIDECAR` where there is none or it is not valid, and as {@link loadModel}
 * @example
 * await using described = await loadModelWithSidecar('vit.pt');
 * const image = await described.loadImage('cat.jpg');
 * const { maps } = await new GradCAM(described.camOptions).explain(image.tensor);
 * console.log(described.labels?.[maps[0]?.classIndex ?? -1]);
 */
export async function loadModelWithSidecar(
  file: string | URL,
  options?: LoadModelOptions,
): Promise<ModelWithSidecar> {
  const path = filePath(file);
  if (typeof path !== 'string') throw invalidArgumentType('path', 'a string', path);
  const sidecar = await loadSidecar(path);
  if (!sidecar) {
    const missing = sidecarPath(path);
    throw new GradCamError(
      'ERR_SIDECAR',
      `There is no sidecar '${missing}'. Write one with \`gradcam init-sidecar ${path}\`, or use loadModel() and say the preprocessing yourself.`,
      { details: { path: missing } },
    );
  }
  const model = await loadModel(path, modelOptions(sidecar, options));
  return new ModelWithSidecar(model, sidecar);
}

/** A model, and what its sidecar says of it. */
export class ModelWithSidecar {
  readonly model: Model;
  readonly sidecar: Sidecar;

  /** @internal Use {@link loadModelWithSidecar}. */
  constructor(model: Model, sidecar: Sidecar) {
    this.model = model;
    this.sidecar = sidecar;
  }

  /** For the constructor of every method: the model, with the sidecar's layer, reshape transform and output. */
  get camOptions(): CAMOptions {
    return { model: this.model, ...explainedPart(this.sidecar) };
  }

  /** A name for each class; undefined where the sidecar has none. */
  get labels(): readonly string[] | undefined {
    return this.sidecar.labels;
  }

  /**
   * A picture as this model wants it.
   * @param options - what shall be other than the sidecar says
   * @throws as {@link loadImage}
   */
  loadImage(source: ImageSource, options?: LoadImageOptions): Promise<LoadedImage> {
    return loadImage(source, adjusted(imageOptions(this.sidecar), options ?? {}));
  }

  /**
   * The index of a class from its label, one of its names, the beginning of just one label, or the index as a text.
   * @throws {GradCamError} `ERR_UNKNOWN_LABEL` with the nearest labels
   */
  findClass(query: string): number {
    return findClass(this.labels, query);
  }

  /** Disposes of the model. */
  async dispose(): Promise<void> {
    await this.model.dispose();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }
}
