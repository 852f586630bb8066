import type { BaseCAM, CAMOptions } from '../cam/base-cam.js';
import {
  checkMethodChoice,
  createCam,
  type MethodName,
  type MethodOptions,
} from '../cam/methods/registry.js';
import { GradCamError, invalidArgumentType } from '../errors/errors.js';
import { checkSignal, readOptions } from '../errors/options.js';
import type { LoadImageOptions } from '../image/options.js';
import { Model } from '../model/model.js';
import { checkReshapeTransform, type ReshapeTransform } from '../model/reshape-transform.js';
import { checkTargetLayers, type TargetLayer } from '../model/target-layers.js';
import { CosineSimilarityTarget, VectorTarget } from '../targets/vector-targets.js';
import { Tensor, type TensorLike } from '../tensor/tensor.js';
import { type ClipArchive, imageMethod, readClipArchive } from './archive.js';
import { ClipExplanation } from './explanation.js';
import { TextEmbeddings } from './text-embeddings.js';
import type { TokenizeOptions } from './tokenizer.js';

export interface ClipExplainerOptions {
  /** A CLIP with the methods `encode_image` and `encode_text`, such as OpenAI's TorchScript archives. */
  readonly model: Model;
  /**
   * Layers of the image encoder, whose maps are averaged. Default: of a ResNet `'visual.layer4'`; of a ViT what comes
   * before the last attention (LeGrad needs none).
   */
  readonly targetLayers?: TargetLayer | readonly TargetLayer[];
  /** Default: `'gradcam'` for a ResNet, `'legrad'` for a ViT. */
  readonly method?: MethodName;
  /** What the method takes beside what all do. Default: its defaults. */
  readonly options?: MethodOptions;
  /** Default: none for a ResNet; for a ViT the tokens, in whichever order the layer has them. */
  readonly reshapeTransform?: ReshapeTransform;
  /** As in `CAMOptions`. Default true. */
  readonly optimize?: boolean;
}

export interface ClipExplainOptions {
  /**
   * What is differentiated: the dot product of the two embeddings as the encoders give them (the default), or their
   * cosine, which does not reward what only makes the image's embedding longer.
   */
  readonly similarity?: 'dot' | 'cosine';
  /** As in `ExplainOptions`. Default: `'bicubic'`, for LeGrad `'bilinear'`. */
  readonly upsample?: boolean | 'bilinear' | 'bicubic';
  /** Cut prompts that are too long, instead of refusing them. Default false. */
  readonly truncate?: boolean;
  readonly signal?: AbortSignal;
}

const mean = [0.48145466, 0.4578275, 0.40821073] as const;
const std = [0.26862954, 0.26130258, 0.27577711] as const;
const mostPrompts = 1000;

/**
 * Heat for what a text says: where in an image a CLIP sees it. One run of the image encoder serves all prompts, and the
 * embeddings of prompts are kept. A. Radford et al., "Learning Transferable Visual Models From Natural Language
 * Supervision", 2021.
 * @example
 * await using model = await loadModel('RN50.pt');
 * const clip = new ClipExplainer({ model });
 * const image = await loadImage('cat.jpg', clip.imageOptions);
 * const { heatmaps, probabilities } = await clip.explain(image.tensor, ['the cat', 'the sofa']);
 */
export class ClipExplainer {
  readonly #model: Model;
  readonly #archive: ClipArchive;
  readonly #choice: { readonly method: MethodName; readonly options: MethodOptions };
  readonly #options: Pick<ClipExplainerOptions, 'targetLayers' | 'reshapeTransform' | 'optimize'>;
  readonly #texts: TextEmbeddings;
  #cam: Promise<BaseCAM> | undefined;

  /**
   * @throws {GradCamError} `ERR_NO_FORWARD` where the model is no CLIP, `ERR_UNSUPPORTED` for a vocabulary or an image
   *   encoder that is not CLIP's, `ERR_UNKNOWN_LAYER`, `ERR_DISPOSED`
   * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, `ERR_UNKNOWN_OPTION`
   */
  constructor(options: ClipExplainerOptions) {
    const {
      model,
      method,
      options: own,
      ...rest
    } = readOptions<ClipExplainerOptions>('ClipExplainer options', options, [
      'model',
      'targetLayers',
      'method',
      'options',
      'reshapeTransform',
      'optimize',
    ]);
    if (!(model instanceof Model)) throw invalidArgumentType('model', 'a Model from loadModel()', model);
    if (method !== undefined) checkMethodChoice({ method, options: own });
    refuseComparing(method);
    if (rest.targetLayers !== undefined) checkTargetLayers(rest.targetLayers, model);
    checkReshapeTransform(rest.reshapeTransform);
    this.#model = model;
    this.#archive = readClipArchive(model);
    this.#choice = checkMethodChoice({
      method: method ?? (this.#archive.imageEncoder === 'vit' ? 'legrad' : 'gradcam'),
      options: own,
    });
    this.#options = rest;
    this.#texts = new TextEmbeddings(model);
  }

  /** For `loadImage()`: how CLIP was shown its images. The shorter side is resized, and the centre cut out. */
  get imageOptions(): LoadImageOptions {
    const { imageSize } = this.#archive;
    return { size: imageSize, resize: imageSize, interpolation: 'bicubic', mean: [...mean], std: [...std] };
  }

  /**
   * The embeddings of texts as `encode_text` gives them, not normalised: float32 `[prompts, E]`.
   * @throws as {@link explain}
   */
  async encodeText(
    prompts: string | readonly string[],
    options?: Pick<ClipExplainOptions, 'truncate' | 'signal'>,
  ): Promise<Tensor> {
    const given = readOptions<ClipExplainOptions>('encodeText options', options, ['truncate', 'signal']);
    const rows = await this.#texts.of(
      checkPrompts(prompts),
      this.#tokenizing(given.truncate),
      checkSignal(given.signal),
    );
    const length = rows[0]?.length ?? 0;
    const values = new Float32Array(rows.length * length);
    for (const [index, row] of rows.entries()) values.set(row, index * length);
    return Tensor.from(values, [rows.length, length]);
  }

  /**
   * One heatmap for each image and prompt, 0 to 1, from one run of the image encoder.
   * @param images - `[B, 3, S, S]` as `loadImage(file, clip.imageOptions)` gives them
   * @param prompts - what to look for: `'the cat'`, or several texts
   * @throws {GradCamError} `ERR_PROMPT_TOO_LONG`, `ERR_INPUT_SHAPE`, and as `BaseCAM.explain`
   * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, `ERR_UNKNOWN_OPTION`
   */
  async explain(
    images: TensorLike,
    prompts: string | readonly string[],
    options?: ClipExplainOptions,
  ): Promise<ClipExplanation> {
    const given = readOptions<ClipExplainOptions>('explain options', options, [
      'similarity',
      'upsample',
      'truncate',
      'signal',
    ]);
    const { similarity = 'dot', upsample = this.#choice.method === 'legrad' ? 'bilinear' : 'bicubic' } =
      given;
    if (similarity !== 'dot' && similarity !== 'cosine')
      throw invalidArgumentType('similarity', "'dot' or 'cosine'", similarity);
    const signal = checkSignal(given.signal);
    const texts = checkPrompts(prompts);
    using tensor = this.#checkImages(images);
    const textEmbeddings = await this.#texts.of(texts, this.#tokenizing(given.truncate), signal);
    const Target = similarity === 'cosine' ? CosineSimilarityTarget : VectorTarget;
    const cam = await this.#findCam();
    const explanation = await cam.explain(tensor, {
      targets: [textEmbeddings.map((text) => new Target(text))],
      upsample,
      ...(signal ? { signal } : {}),
    });
    return new ClipExplanation(explanation, {
      prompts: texts,
      textEmbeddings,
      logitScale: this.#archive.logitScale,
    });
  }

  /**
   * The embeddings of prompts, and what makes logits of cosines.
   * @internal
   */
  async embed(
    prompts: readonly string[],
    signal: AbortSignal | undefined,
  ): Promise<{ prompts: readonly string[]; textEmbeddings: Float32Array[]; logitScale: number }> {
    const textEmbeddings = await this.#texts.of(checkPrompts(prompts), this.#tokenizing(), signal);
    return { prompts, textEmbeddings, logitScale: this.#archive.logitScale };
  }

  /** @internal By default, of the encoder that it is. */
  get method(): MethodName {
    return this.#choice.method;
  }

  /** @internal The layer that is explained when none is named. */
  get layer(): string {
    return this.#archive.layer;
  }

  /** @internal `[C, H, W]` of an image. */
  get inputShape(): readonly [number, number, number] {
    const { imageSize } = this.#archive;
    return [3, imageSize, imageSize];
  }

  #tokenizing(truncate: unknown = false): Required<TokenizeOptions> {
    if (typeof truncate !== 'boolean') throw invalidArgumentType('truncate', 'true or false', truncate);
    return { contextLength: this.#archive.contextLength, truncate };
  }

  /** A hold of its own on the images: the caller may dispose of them while the prompts are encoded. */
  #checkImages(images: TensorLike): Tensor {
    const tensor = Tensor.fromLike(images, 'images');
    const { imageSize } = this.#archive;
    const [, channels, height, width] = tensor.shape;
    if (tensor.shape.length === 4 && channels === 3 && height === imageSize && width === imageSize)
      return tensor.narrow(0, tensor.shape[0] ?? 0);
    throw new GradCamError(
      'ERR_INPUT_SHAPE',
      `This CLIP takes images [B, 3, ${imageSize}, ${imageSize}], not [${tensor.shape.join(', ')}]. ` +
        'Load them with loadImage(file, clip.imageOptions).',
    );
  }

  #findCam(): Promise<BaseCAM> {
    this.#cam ??= this.#makeCam().catch((error) => {
      this.#cam = undefined;
      throw error;
    });
    return this.#cam;
  }

  async #makeCam(): Promise<BaseCAM> {
    return createCam(await this.camOptions(), this.#choice);
  }

  /**
   * What a CAM of the image encoder is made with; what is asked for goes before this explainer's own.
   * @throws {GradCamError} `ERR_UNSUPPORTED`, `ERR_UNKNOWN_LAYER`
   * @internal
   */
  async camOptions(
    method = this.#choice.method,
    asked: Pick<ClipExplainerOptions, 'targetLayers' | 'reshapeTransform'> = {},
  ): Promise<CAMOptions> {
    refuseComparing(method);
    const { targetLayers = this.#archive.layer, optimize = true, ...given } = { ...this.#options, ...asked };
    const { reshapeTransform = await this.#findReshape(targetLayers, method) } = given;
    return {
      model: this.#model,
      modelMethod: imageMethod,
      targetLayers,
      optimize,
      ...(reshapeTransform ? { reshapeTransform } : {}),
    };
  }

  /** OpenAI's ViTs hold tokens as `[tokens, B, C]`, later ones as `[B, tokens, C]`: one run tells. */
  async #findReshape(
    targetLayers: TargetLayer | readonly TargetLayer[],
    method: MethodName,
  ): Promise<ReshapeTransform | undefined> {
    if (this.#archive.imageEncoder === 'resnet') return undefined;
    if (method === 'legrad') return { kind: 'tokens', prefixTokens: 1 };
    const { imageSize } = this.#archive;
    using nothing = Tensor.from(new Float32Array(3 * imageSize ** 2), [1, 3, imageSize, imageSize]);
    const { layers } = await this.#model.inspect(nothing, { modelMethod: imageMethod });
    const [layer] = checkTargetLayers(targetLayers, this.#model);
    const shape = layers.find(({ path }) => path === layer?.path)?.outputShapes[0];
    if (shape?.length !== 3) return undefined;
    return { kind: 'tokens', prefixTokens: 1, batchFirst: shape[0] === 1 };
  }
}

function refuseComparing(method: MethodName | undefined): void {
  if (method === 'finercam')
    throw new GradCamError(
      'ERR_UNSUPPORTED',
      'FinerCAM compares classes, and a text is none. Take another method.',
    );
}

function checkPrompts(prompts: unknown): string[] {
  const list: unknown[] = Array.isArray(prompts) ? [...prompts] : [prompts];
  if (list.length === 0 || list.length > mostPrompts)
    throw invalidArgumentType('prompts', `a text, or 1 to ${mostPrompts} of them`, prompts);
  for (const [index, prompt] of list.entries())
    if (typeof prompt !== 'string') throw invalidArgumentType(`prompts[${index}]`, 'a string', prompt);
  return list as string[];
}
