import type { StageTimings } from '../addon/addon.js';
import { GradCamError } from '../errors/errors.js';
import { type CheckedArguments, checkArguments, type ModelArguments } from '../model/arguments.js';
import { Model } from '../model/model.js';
import { disposeOutput, type ModelOutput } from '../model/output.js';
import type { Tensor } from '../tensor/tensor.js';
import { BatchQueue, type BatchResult } from './batch-queue.js';
import { checkLimits, type ExplainerLimits } from './explainer.js';
import type { ExplainerCounters } from './statistics.js';
import { partsOf, shapesOf, type WaitingItem } from './waiting-images.js';

/** What a model gives for the images of a call. */
export class Prediction implements BatchResult<Prediction> {
  /** The call's to dispose of. */
  readonly outputs: ModelOutput;
  readonly timings: StageTimings;
  /** Images that were computed together, these included. */
  readonly batchSize: number;

  constructor(outputs: ModelOutput, timings: StageTimings, batchSize: number) {
    this.outputs = outputs;
    this.timings = timings;
    this.batchSize = batchSize;
  }

  ofImages(_start: number, _length: number, batch: number, outputs: ModelOutput): Prediction {
    return new Prediction(outputs, this.timings, batch);
  }

  waited(milliseconds: number): Prediction {
    const { queue } = this.timings;
    return new Prediction(this.outputs, { ...this.timings, queue: queue + milliseconds }, this.batchSize);
  }

  dispose(): void {
    disposeOutput(this.outputs);
  }
}

/**
 * @internal Predicts for many callers at once, as an Explainer explains: images that wait run together, and each call gets the
 * outputs of its own.
 */
export class Predictor {
  readonly #model: Model;
  readonly #queue: BatchQueue<CheckedArguments, Prediction>;

  constructor(model: Model, limits: ExplainerLimits) {
    this.#model = model;
    this.#queue = new BatchQueue<CheckedArguments, Prediction>(
      {
        runsImagesAlone: () => model.takesImageList || Model.runsImagesAlone(model, 'forward'),
        exactBatch: () => Model.exactBatch(model),
        howOfLast: (how) => how,
        compute: (...batch) => this.#compute(...batch),
      },
      checkLimits(limits, model),
    );
  }

  /**
   * @param inputs - one for each parameter of `forward` that takes a tensor; of the first the first axis is the images
   * @throws {GradCamError} `ERR_BUSY` when `maxQueue` images wait, and all of {@link Model.forward}
   */
  async predict(
    inputs: readonly Tensor[],
    given: ModelArguments | undefined,
    signal: AbortSignal,
  ): Promise<Prediction> {
    if (this.#model.disposed)
      throw new GradCamError('ERR_DISPOSED', 'The model was disposed and cannot be used any more.');
    signal.throwIfAborted();
    const how = checkArguments(given);
    const images = this.#model.takesImageList ? 1 : (inputs[0]?.shape[0] ?? 0);
    this.#queue.checkRoom(images);
    // The caller may dispose of the input while it waits.
    const held = inputs.map((tensor) => tensor.share());
    const call = { inputs: held, images, how, compatibility: `${how.key} ${shapesOf(held)}` };
    return await this.#queue.add(call, signal).finally(() => {
      for (const tensor of held) tensor.dispose();
    });
  }

  async #compute(
    items: readonly WaitingItem<CheckedArguments, Prediction>[],
    signal: AbortSignal,
  ): Promise<Prediction> {
    const started = performance.now();
    const given = items[0]?.how.given ?? {};
    const outputs = await Model.forwardParts(this.#model, partsOf(items), given, signal);
    const forward = performance.now() - started;
    const images = items.reduce((sum, each) => sum + each.images, 0);
    return new Prediction(outputs, { queue: 0, plan: 0, forward, backward: 0, cam: 0 }, images);
  }

  get stats(): ExplainerCounters {
    return this.#queue.stats;
  }
}
