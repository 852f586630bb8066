import { BaseCAM, type CAMOptions } from '../cam/base-cam.js';
import {
  checkExplainArguments,
  type ExplainArguments,
  type ExplainOptions,
} from '../cam/explain-arguments.js';
import type { Explanation } from '../cam/explanation.js';
import { createCam, type MethodName, type MethodOptions } from '../cam/methods/registry.js';
import { argumentOutOfRange, GradCamError, invalidArgumentType } from '../errors/errors.js';
import { readOptions } from '../errors/options.js';
import { observeExplain } from '../model/diagnostics.js';
import { Model, type ModelInput } from '../model/model.js';
import { type BatchLimits, BatchQueue } from './batch-queue.js';
import type { ExplainerCounters } from './statistics.js';
import { partsOf, shapesOf, type WaitingItem } from './waiting-images.js';

/** How many images an Explainer takes at once. */
export interface ExplainerLimits {
  /** Most images in one batch. Default {@link defaultMaxBatch}: 8 on the CPU, 32 on a GPU. */
  readonly maxBatch?: number;
  /**
   * How long an image waits for others to fill its batch, in milliseconds. Default 0: take what waits. Images that come
   * while the executors are busy share a batch anyway.
   */
  readonly maxDelayMs?: number;
  /** Most images that may wait; more are refused with `ERR_BUSY`. Default 256. */
  readonly maxQueue?: number;
}

export interface ExplainerOptions extends CAMOptions, ExplainerLimits {
  /** Name of the method. Default `'gradcam'`. */
  readonly method?: MethodName;
  /** What the method takes beside what all do: of `'ablationcam'` `{ ratioChannelsToAblate: 0.1 }`. Default: its defaults. */
  readonly options?: MethodOptions;
}

/** An Explainer of a CAM that is there already, such as one of a class of your own. */
export interface CamExplainerOptions extends ExplainerLimits {
  /** What explains. It and its model stay the caller's. */
  readonly cam: BaseCAM;
}

/** What images of a call are explained by; but for the targets those of a batch agree. */
type How = Omit<ExplainArguments, 'inputs' | 'onProgress' | 'signal'>;

const limits = ['maxBatch', 'maxDelayMs', 'maxQueue'] as const;

/** How many images a device wants at once: a GPU is not filled by those that a CPU computes. */
export function defaultMaxBatch({ device }: Model): number {
  return device === 'cpu' ? 8 : 32;
}

/**
 * Explains for many callers at once: each asks for its own image, with its own targets, and the images that wait are
 * explained together in batches. One that fails fails alone. Each call is a batch of its own where the model takes one image
 * only, which the first batch finds out, where images that run together change each other's results
 * ({@link Model.warnings}), and of detectors.
 * @example
 * const explainer = new Explainer({ model, targetLayers: 'layer4' });
 * const explanation = await explainer.explain(image.tensor, { targets: 281, signal });
 * new Explainer({ cam: new AblationCAM({ model, ratioChannelsToAblate: 0.1 }), maxBatch: 4 });
 */
export class Explainer {
  readonly #cam: BaseCAM;
  readonly #queue: BatchQueue<How, Explanation>;

  /**
   * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, `ERR_UNKNOWN_OPTION`
   * @throws {GradCamError} `ERR_UNKNOWN_LAYER`
   */
  constructor(options: ExplainerOptions | CamExplainerOptions) {
    const { maxBatch, maxDelayMs, maxQueue, ...how } = readOptions<ExplainerOptions & CamExplainerOptions>(
      'Explainer options',
      options,
      [
        'cam',
        'model',
        'targetLayers',
        'modelMethod',
        'output',
        'scores',
        'labelCount',
        'optimize',
        'reshapeTransform',
        'method',
        'options',
        ...limits,
      ],
    );
    this.#cam = camOf(how);
    this.#queue = new BatchQueue<How, Explanation>(
      {
        runsImagesAlone: () => this.#cam.runsImagesAlone,
        exactBatch: () => Model.exactBatch(this.#cam.model),
        howOfLast: (how) => ({ ...how, targets: how.targets.slice(-1) }),
        compute: (...batch) => this.#compute(...batch),
      },
      checkLimits({ maxBatch, maxDelayMs, maxQueue }, this.#cam.model),
    );
  }

  /**
   * Explains one image (or a few, which stay together).
   * @param input - `[1, C, H, W]`, as for {@link BaseCAM.explain}
   * @throws {GradCamError} `ERR_BUSY` when `maxQueue` images wait, and all of {@link BaseCAM.explain}
   */
  async explain(input: ModelInput, options?: ExplainOptions): Promise<Explanation> {
    if (this.#queue.disposed) throw new GradCamError('ERR_DISPOSED', 'This Explainer was disposed.');
    const { inputs, targets, signal, onProgress, ...how } = checkExplainArguments(input, options);
    if (onProgress !== undefined)
      throw invalidArgumentType(
        'onProgress',
        'nothing (images of an Explainer are computed together)',
        onProgress,
      );
    signal?.throwIfAborted();
    const alone = this.#cam.takesImageList;
    if (alone && (inputs.length > 1 || (inputs[0]?.shape.length === 4 && inputs[0].shape[0] !== 1)))
      throw invalidArgumentType('input', 'one image (of a model that takes a list of images)', input);
    const images = alone ? 1 : (inputs[0]?.shape[0] ?? 0);
    if (targets.length !== 1 && targets.length !== images) {
      throw new GradCamError(
        'ERR_TARGET_COUNT',
        `There are ${images} images but targets for ${targets.length}. Give one list for each image, or one for all.`,
      );
    }
    this.#queue.checkRoom(images);
    // The caller may dispose of the input while it waits.
    const held = inputs.map((tensor) => tensor.share());
    const facts = this.#cam.facts([this.#cam], [held]);
    const own = targets.length === images ? targets : Array.from({ length: images }, () => targets[0] ?? []);
    const { modelArguments, ...rest } = how;
    const call = {
      inputs: held,
      images,
      how: { ...how, targets: own },
      compatibility: `${JSON.stringify(rest)} ${modelArguments.key} ${shapesOf(held)}`,
    };
    return await observeExplain({ ...facts, images }, () => this.#queue.add(call, signal)).finally(() => {
      for (const tensor of held) tensor.dispose();
    });
  }

  #compute(items: readonly WaitingItem<How, Explanation>[], signal: AbortSignal): Promise<Explanation> {
    const [first] = items as readonly [WaitingItem<How, Explanation>];
    return this.#cam.explainParts(partsOf(items), {
      ...first.how,
      targets: items.flatMap(({ how }) => how.targets),
      onProgress: undefined,
      signal,
    });
  }

  /** What was done so far. */
  get stats(): ExplainerCounters {
    return this.#queue.stats;
  }

  /** Refuses further images, and resolves when those that were accepted are done. The model is not disposed. */
  async dispose(): Promise<void> {
    await this.#queue.dispose();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }
}

/** @internal Limits as they were given, checked, and the default of each other. */
export function checkLimits(
  { maxBatch, maxDelayMs, maxQueue }: { readonly [key in keyof ExplainerLimits]: number | undefined },
  model: Model,
): BatchLimits {
  return {
    maxBatch: checkNumber('maxBatch', maxBatch ?? defaultMaxBatch(model), 1, 4096, true),
    maxDelayMs: checkNumber('maxDelayMs', maxDelayMs ?? 0, 0, 60_000, false),
    maxQueue: checkNumber('maxQueue', maxQueue ?? 256, 1, 1_000_000, true),
  };
}

function camOf({
  cam,
  method,
  options,
  ...common
}: Partial<ExplainerOptions & CamExplainerOptions>): BaseCAM {
  if (cam === undefined) return createCam(common as CAMOptions, { method, options });
  if (!(cam instanceof BaseCAM)) throw invalidArgumentType('cam', 'a CAM method, such as new GradCAM()', cam);
  const given = Object.entries({ method, options, ...common }).find(([, value]) => value !== undefined);
  if (given) throw invalidArgumentType(given[0], 'nothing beside a cam, which has it', given[1]);
  return cam;
}

function checkNumber(name: string, value: unknown, least: number, most: number, integer: boolean): number {
  if (typeof value !== 'number') throw invalidArgumentType(name, 'a number', value);
  if (!(value >= least && value <= most) || (integer && !Number.isInteger(value)))
    throw argumentOutOfRange(name, `${integer ? 'an integer' : 'a number'} from ${least} to ${most}`, value);
  return value;
}
