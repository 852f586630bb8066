import type { CAMOptions } from '../../cam/base-cam.js';
import type { ExplainOptions } from '../../cam/explain-arguments.js';
import type { Explanation } from '../../cam/explanation.js';
import { createCam, type MethodName, type MethodOptions } from '../../cam/methods/registry.js';
import { imageMethod, isClip } from '../../clip/archive.js';
import { ClipExplainer } from '../../clip/explainer.js';
import { GradCamError } from '../../errors/errors.js';
import { defaultMaxBatch, Explainer } from '../../explainer/explainer.js';
import { type Prediction, Predictor } from '../../explainer/predictor.js';
import type { LoadImageOptions } from '../../image/options.js';
import type { ModelArguments } from '../../model/arguments.js';
import { type Device, loadModel } from '../../model/load-model.js';
import { type Inspection, Model } from '../../model/model.js';
import type { ModelOutput } from '../../model/output.js';
import type { TargetLayer } from '../../model/target-layers.js';
import {
  explainedPart,
  imageOptions,
  loadSidecar,
  modelOptions,
  type Sidecar,
} from '../../sidecar/sidecar.js';
import { type DType, Tensor } from '../../tensor/tensor.js';
import type { ModelDefinition } from '../configuration/options.js';
import type { EmbeddedTexts, ServedTask } from '../targets/choice.js';
import { chooseTargets } from '../targets/choose-targets.js';
import { inputFrame } from '../targets/picture-frame.js';

/** Reshape transforms that have a name: all that a request may ask for. */
export const reshapeNames = ['tokens', 'nhwc', 'featurePyramid', 'none'] as const;
export type ReshapeName = (typeof reshapeNames)[number];

/** How a request wants its images explained; what is left out is the model's default. */
export interface ExplainChoice {
  readonly method?: MethodName | undefined;
  /** Of the method, checked. */
  readonly options?: MethodOptions | undefined;
  readonly layers?: readonly string[] | undefined;
  /** 'none' where the sidecar has one that is not wanted. */
  readonly reshape?: ReshapeName | undefined;
  readonly targets?: ExplainOptions['targets'] | undefined;
  /** Of the model's forward, beside the images. */
  readonly arguments?: ModelArguments | undefined;
  readonly upsample?: boolean | undefined;
  readonly augSmooth?: boolean | undefined;
  readonly eigenSmooth?: boolean | undefined;
}

export interface ModelDefaults {
  readonly device: string;
  readonly maxBatch?: number | undefined;
  readonly maxDelayMs: number;
  readonly maxPending: number;
}

/** Batches and images that were computed: predictions, and explains of all methods and layers. */
export interface BatchTotals {
  readonly batches: number;
  readonly images: number;
}

/** One tensor of a model's output. */
export interface OutputDescription {
  /** Its key in each tuple and dictionary on the way to it, outermost first. */
  readonly path: readonly string[];
  readonly dtype: DType;
  readonly shape: readonly number[];
}

function describeOutput(output: ModelOutput, path: readonly string[] = []): OutputDescription[] {
  if (output instanceof Tensor) return [{ path, dtype: output.dtype, shape: output.shape }];
  if (typeof output !== 'object' || output === null) return [];
  return Object.entries(output).flatMap(([key, inner]) => describeOutput(inner, [...path, key]));
}

// Each choice of method, its options and layers batches by itself. An Explainer holds no memory, but addresses must not add up.
const mostExplainers = 64;

/** One loaded model: its explainers, and who uses it. It goes away when the last user has left. */
export class ServedModel {
  readonly name: string;
  /** '1' for the first load of this name, then '2', ... */
  readonly version: string;
  readonly model: Model;
  readonly sidecar: Sidecar | null;
  readonly definition: ModelDefinition;
  readonly maxBatch: number;
  readonly #explainerOptions: { maxBatch: number; maxDelayMs: number; maxQueue: number };
  /** Null of a model that has no encoders of images and texts. */
  readonly #clip: ClipExplainer | null;
  readonly #predictor: Predictor;
  readonly #explainers = new Map<string, Explainer>();
  /** Of explainers that are gone. */
  readonly #retired = { batches: 0, images: 0 };
  #outputs: readonly OutputDescription[] | null = null;
  #inspection: Promise<Inspection | null> | undefined;
  #users = 0;
  #whenUnused: (() => void) | undefined;

  private constructor(
    name: string,
    version: string,
    definition: ModelDefinition,
    model: Model,
    sidecar: Sidecar | null,
    defaults: ModelDefaults,
  ) {
    this.name = name;
    this.version = version;
    this.definition = definition;
    this.model = model;
    this.sidecar = sidecar;
    this.maxBatch = definition.maxBatch ?? defaults.maxBatch ?? defaultMaxBatch(model);
    this.#explainerOptions = {
      maxBatch: this.maxBatch,
      maxDelayMs: definition.maxDelayMs ?? defaults.maxDelayMs,
      maxQueue: defaults.maxPending,
    };
    this.#clip = isClip(model) ? new ClipExplainer({ model }) : null;
    this.#predictor = new Predictor(model, this.#explainerOptions);
  }

  static async load(
    name: string,
    version: string,
    definition: ModelDefinition,
    defaults: ModelDefaults,
    signal: AbortSignal,
  ): Promise<ServedModel> {
    const sidecar = await loadSidecar(definition.path);
    const device = (definition.device ?? defaults.device) as Device;
    const model = await loadModel(definition.path, modelOptions(sidecar, { device, signal }));
    return new ServedModel(name, version, definition, model, sidecar, defaults);
  }

  /** Which of the model's methods is explained. */
  get #modelMethod(): string {
    return this.task === 'clip' ? imageMethod : 'forward';
  }

  /** Images that can be handed over together. */
  get largestPart(): number {
    if (this.model.takesImageList || Model.runsImagesAlone(this.model, this.#modelMethod)) return 1;
    return Model.exactBatch(this.model) ?? this.maxBatch;
  }

  /** What the model does, and so what of it is explained. */
  get task(): ServedTask {
    return this.sidecar?.task ?? (this.#clip ? 'clip' : 'classification');
  }

  get defaultMethod(): MethodName {
    return this.definition.method ?? (this.task === 'clip' ? this.#clip?.method : undefined) ?? 'gradcam';
  }

  /** The embeddings of texts by a CLIP, those used last kept. */
  async embed(texts: readonly string[], signal: AbortSignal): Promise<EmbeddedTexts> {
    if (!this.#clip) throw new GradCamError('ERR_UNSUPPORTED', `The model ${this.name} is no CLIP.`);
    return await this.#clip.embed(texts, signal);
  }

  /** How long an image waits for a fuller batch. */
  get maxDelayMs(): number {
    return this.#explainerOptions.maxDelayMs;
  }

  /** The layers when a request names none; undefined where the library chooses. */
  get defaultLayers(): TargetLayer | readonly TargetLayer[] | undefined {
    return (
      this.definition.layer ?? this.sidecar?.layer ?? (this.task === 'clip' ? this.#clip?.layer : undefined)
    );
  }

  /** How pictures become inputs. */
  get preparation(): LoadImageOptions {
    return this.sidecar ? imageOptions(this.sidecar) : (this.#clip?.imageOptions ?? {});
  }

  /** `[C, H, W]` of what {@link preparation} makes; without a sidecar that is ImageNet's. */
  get inputShape(): readonly [number, number, number] {
    if (!this.sidecar && this.#clip) return this.#clip.inputShape;
    const { channels = 3, height = 224, width = 224 } = this.sidecar?.input ?? {};
    return [channels, height, width];
  }

  /**
   * All layers with their output shapes, from one forward on zeros; null where that fails. It is run once, whoever asks and
   * however it ends, so that asking costs nothing; only after a want of memory it is tried again.
   */
  inspect(): Promise<Inspection | null> {
    this.#inspection ??= this.#inspect();
    return this.#inspection;
  }

  async #inspect(): Promise<Inspection | null> {
    using zeros = this.#zeros();
    try {
      return await this.model.inspect(zeros, { modelMethod: this.#modelMethod });
    } catch (error) {
      if ((error as { code?: string }).code === 'ERR_OUT_OF_MEMORY') this.#inspection = undefined;
      return null;
    }
  }

  /** Images that are tried: a program may have been exported for a number of them. */
  get #triedImages(): number {
    return this.model.exportedBatch ?? 1;
  }

  /** Makes ready what requests will run that choose no layers themselves: one image, and a full batch. */
  async warmUp(signal: AbortSignal): Promise<void> {
    const targetLayers = this.defaultLayers ?? (await this.#suggestedLayer());
    for (const images of new Set([this.#triedImages, this.largestPart])) {
      const shape = [images, ...this.inputShape];
      try {
        await this.model.warmUp({
          shape,
          modelMethod: this.#modelMethod,
          ...(targetLayers === undefined ? {} : { targetLayers }),
          signal,
        });
      } catch (error) {
        // The first batch may find out how many images the model takes.
        if (images <= this.largestPart) throw error;
      }
    }
  }

  /** Explains zeros as a request would that chooses nothing, so that what does not fit together shows. It waits for no batch. */
  async tryOut(signal: AbortSignal): Promise<void> {
    using input = this.#zeros();
    // A class, since which side of one output zeros are on may not be told.
    const wishes = {
      classification: { classes: [0] },
      clip: { texts: ['a photo'] },
      segmentation: {},
      detection: {},
    };
    const source = {
      sidecar: this.sidecar,
      task: this.task,
      embed: (texts: readonly string[]) => this.embed(texts, signal),
      predict: async (tensors: readonly Tensor[]) => {
        const output = await this.model.forward(tensors, { signal });
        this.#outputs = describeOutput(output);
        return output;
      },
      reserve: () => {},
    };
    const asking = [{ wish: wishes[this.task], frame: inputFrame }];
    try {
      const [chosen] = await chooseTargets(source, [input], asking, undefined);
      const method = this.defaultMethod;
      const cam = createCam(await this.#camOptions({}, method), { method });
      using explanation = await cam.explain(input, { targets: [chosen?.targets ?? []], signal });
      this.#outputs ??= describeOutput(explanation.outputs);
    } catch (error) {
      // In zeros there is nothing to detect.
      if ((error as { code?: string }).code !== 'ERR_NO_DETECTION') throw error;
    }
  }

  /** The tensors that it gives for one image; null where that was not found out, for no class of zeros is explained. */
  get outputs(): readonly OutputDescription[] | null {
    return this.#outputs;
  }

  async #suggestedLayer(): Promise<string | undefined> {
    using input = this.#zeros();
    try {
      return (await this.model.suggestLayer(input)).path;
    } catch (error) {
      if ((error as { code?: string }).code === 'ERR_NO_LAYER_SUGGESTION') return undefined;
      throw error;
    }
  }

  #zeros(): Tensor {
    return Tensor.zeros([this.#triedImages, ...this.inputShape]);
  }

  /** As `GradCAM.explain`, in batches with whatever else is asked of this model in the same way. */
  async explain(
    input: Tensor | readonly Tensor[],
    choice: ExplainChoice,
    signal: AbortSignal,
  ): Promise<Explanation> {
    const { targets, arguments: given, upsample, augSmooth, eigenSmooth } = choice;
    const { method = this.defaultMethod } = choice;
    // As CLIP's maps are enlarged by those who wrote of them.
    const smooth = this.task === 'clip' && method !== 'legrad' && upsample !== false;
    const enlarged = smooth ? 'bicubic' : upsample;
    const explainer = await this.#explainer(choice);
    return await explainer.explain(input, {
      ...(targets === undefined ? {} : { targets }),
      ...(given === undefined ? {} : { arguments: given }),
      ...(enlarged === undefined ? {} : { upsample: enlarged }),
      ...(augSmooth === undefined ? {} : { augSmooth }),
      ...(eigenSmooth === undefined ? {} : { eigenSmooth }),
      signal,
    });
  }

  /** As `Model.forward`, in batches with whatever else is predicted of this model. */
  async predict(
    input: Tensor | readonly Tensor[],
    given: ModelArguments | undefined,
    signal: AbortSignal,
  ): Promise<Prediction> {
    return await this.#predictor.predict([input].flat(), given, signal);
  }

  /** What the CAM of a choice is made with. */
  async #camOptions({ layers, reshape }: ExplainChoice, method: MethodName): Promise<CAMOptions> {
    const part = explainedPart(this.sidecar, { layer: layers ?? this.definition.layer, reshape });
    if (this.task !== 'clip' || !this.#clip) return { model: this.model, ...part };
    const { targetLayers, reshapeTransform } = part;
    return await this.#clip.camOptions(method, {
      ...(targetLayers === undefined ? {} : { targetLayers }),
      ...(reshapeTransform === undefined ? {} : { reshapeTransform }),
    });
  }

  async #explainer(choice: ExplainChoice): Promise<Explainer> {
    const { method = this.defaultMethod, layers, reshape } = choice;
    const options = Object.fromEntries(Object.entries(choice.options ?? {}).sort());
    const key = JSON.stringify([method, options, layers, reshape]);
    const known = this.#explainers.get(key);
    if (known) return known;
    const common = await this.#camOptions(choice, method);
    const explainer = new Explainer({ ...common, method, options, ...this.#explainerOptions });
    const meanwhile = this.#explainers.get(key);
    if (meanwhile) return meanwhile;
    if (this.#explainers.size >= mostExplainers) this.#retireIdle();
    this.#explainers.set(key, explainer);
    return explainer;
  }

  /** Forgets the oldest that has nothing to do. */
  #retireIdle(): void {
    for (const [key, explainer] of this.#explainers) {
      const { waiting, running, batches, images } = explainer.stats;
      if (waiting > 0 || running > 0) continue;
      this.#explainers.delete(key);
      this.#retired.batches += batches;
      this.#retired.images += images;
      return;
    }
  }

  get totals(): BatchTotals {
    const totals = { ...this.#retired };
    for (const { stats } of [this.#predictor, ...this.#explainers.values()]) {
      const { batches, images } = stats;
      totals.batches += batches;
      totals.images += images;
    }
    return totals;
  }

  /** Keeps the model alive until the returned function is called. */
  use(): () => void {
    if (this.model.disposed) throw new GradCamError('ERR_DISPOSED', `The model ${this.name} was unloaded.`);
    this.#users++;
    let using = true;
    return () => {
      if (!using) return;
      using = false;
      this.#users--;
      if (this.#users === 0) this.#whenUnused?.();
    };
  }

  /** Frees the model when the last of its users has left. */
  async dispose(): Promise<void> {
    if (this.#users > 0) {
      await new Promise<void>((resolve) => {
        this.#whenUnused = resolve;
      });
    }
    await this.model.dispose();
  }
}
