import type { NativeExplanation, StageTimings } from '../addon/addon.js';
import { argumentOutOfRange, GradCamError } from '../errors/errors.js';
import { disposeOutput, joinOutputs, type ModelOutput, shareOutput, wrapOutput } from '../model/output.js';
import { elementCount } from '../tensor/element-count.js';
import { Tensor } from '../tensor/tensor.js';

/** One heatmap: what it belongs to and what was explained. */
export interface ExplainedMap {
  /** Position of the image in the batch. */
  readonly imageIndex: number;
  /** Position of the target among the image's targets. */
  readonly targetIndex: number;
  /** The explained class; null for a target that is not a class. */
  readonly classIndex: number | null;
  /** The value of the target that was differentiated; for a class its output before any softmax. */
  readonly score: number;
  /** False where the map is zero everywhere: nothing at the target layers speaks for the target. */
  readonly hasPositiveEvidence: boolean;
}

/** A layer call that maps were computed from. */
export interface ExplainedLayer {
  readonly path: string;
  /** Which call of the layer in this forward; 0 unless the model calls it more than once. */
  readonly call: number;
  /** Of a layer that gives several tensors, the way to the one that is explained; empty for what the layer gives. */
  readonly output: readonly (string | number)[];
  /** Shape of its activation, `[B, C, ...space]`. */
  readonly shape: readonly number[];
  /** Why the library chose it; null where the caller named it. */
  readonly reason: string | null;
}

type ExplanationParts = Pick<
  Explanation,
  'heatmaps' | 'outputs' | 'maps' | 'layers' | 'timings' | 'batchSize'
>;

/** The result of an explain. Its tensors are freed with `dispose()` (or `using`), or when garbage collected. */
export class Explanation {
  /**
   * float32 `[N, H, W]` (signals `[N, L]`, volumes `[N, D, H, W]`), values 0 to 1, of the input's size. One map per
   * image and target, by image, then by target; with one target per image, N is the batch size. Images of different
   * sizes, which models that take a list of images allow, have no one tensor: then reading it throws
   * `ERR_OUTPUT_SHAPE`, and {@link heatmapOf} has each.
   */
  readonly heatmaps: Tensor;
  #separate: readonly Tensor[] | null = null;
  /** The model's own output from the same forward. */
  readonly outputs: ModelOutput;
  /** What each heatmap is, in the order of {@link heatmaps}. */
  readonly maps: readonly ExplainedMap[];
  readonly layers: readonly ExplainedLayer[];
  readonly timings: StageTimings;
  /** Images that were computed together, these included. From an `Explainer` that may be more than were asked for. */
  readonly batchSize: number;

  /** @internal */
  constructor(parts: ExplanationParts) {
    this.heatmaps = parts.heatmaps;
    this.outputs = parts.outputs;
    this.maps = parts.maps;
    this.layers = parts.layers;
    this.timings = parts.timings;
    this.batchSize = parts.batchSize;
  }

  /** @internal */
  static fromNative(native: NativeExplanation, index: number, layerReason: string | null): Explanation {
    const method = native.methods[index];
    if (method === undefined) throw new GradCamError('ERR_INTERNAL', 'An explanation without a map.');
    const outputs = wrapOutput(native.outputs);
    return new Explanation({
      heatmaps: Tensor.fromNative(method.heatmaps),
      outputs: index === 0 ? outputs : shareOutput(outputs), // each method's to dispose of
      maps: native.maps.map((map, index) => ({
        ...map,
        hasPositiveEvidence: method.hasPositiveEvidence[index] ?? false,
      })),
      layers: native.layers.map((layer) => ({ ...layer, reason: layerReason })),
      timings: native.timings,
      batchSize: (native.maps.at(-1)?.imageIndex ?? 0) + 1,
    });
  }

  /**
   * One explanation of images that were explained one by one.
   * @internal
   */
  static ofDifferentSizes(parts: readonly Explanation[], imageCounts: readonly number[]): Explanation {
    const [first] = parts;
    if (first === undefined) throw new GradCamError('ERR_INTERNAL', 'Explanations of no images.');
    const starts = imageCounts.map((_, index) => imageCounts.slice(0, index).reduce((sum, n) => sum + n, 0));
    const timings = parts.reduce(
      (sums, { timings }) => ({
        queue: sums.queue + timings.queue,
        plan: sums.plan + timings.plan,
        forward: sums.forward + timings.forward,
        backward: sums.backward + timings.backward,
        cam: sums.cam + timings.cam,
      }),
      { queue: 0, plan: 0, forward: 0, backward: 0, cam: 0 },
    );
    const joined = new Explanation({
      heatmaps: first.heatmaps,
      outputs: joinOutputs(parts.map(({ outputs }) => outputs)),
      maps: parts.flatMap(({ maps }, index) =>
        maps.map((map) => ({ ...map, imageIndex: map.imageIndex + (starts[index] ?? 0) })),
      ),
      layers: first.layers,
      timings,
      batchSize: Math.max(...imageCounts),
    });
    joined.#separate = parts.flatMap(({ heatmaps, maps }) => maps.map((_, index) => heatmaps.at(index)));
    Object.defineProperty(joined, 'heatmaps', {
      get() {
        throw new GradCamError(
          'ERR_OUTPUT_SHAPE',
          'The images differ in size, so that their heatmaps are not one tensor. Take each with heatmapOf(index).',
        );
      },
    });
    return joined;
  }

  /**
   * The heatmap of `maps[index]`, float32 `[H, W]`, of its image's size. Shares memory with this explanation.
   * @throws {RangeError} `ERR_OUT_OF_RANGE`
   * @throws {GradCamError} `ERR_DISPOSED`
   */
  heatmapOf(index: number): Tensor {
    if (this.#separate === null) return this.heatmaps.at(index);
    const heatmap = this.#separate.at(Number.isInteger(index) ? index : Number.NaN);
    if (heatmap === undefined || index < -this.#separate.length || !Number.isInteger(index))
      throw argumentOutOfRange('index', `an integer from 0 to ${this.#separate.length - 1}`, index);
    return heatmap;
  }

  /**
   * What belongs to `length` images of the batch from `start` on, as if they had been explained alone. Shares memory
   * with this explanation, but is disposed of on its own.
   * @param batch - how many images the batch has
   * @param outputs - those of these images, which become the part's
   * @internal
   */
  ofImages(start: number, length: number, batch: number, outputs: ModelOutput): Explanation {
    const isOurs = ({ imageIndex }: ExplainedMap) => imageIndex >= start && imageIndex < start + length;
    const maps = this.maps.filter(isOurs);
    // Layers that run on windows of the images have several rows for each.
    const rows = (count = 0) => (count * length) / batch;
    return new Explanation({
      heatmaps: this.heatmaps.narrow(this.maps.findIndex(isOurs), maps.length),
      outputs,
      maps: maps.map((map) => ({ ...map, imageIndex: map.imageIndex - start })),
      layers: this.layers.map((layer) => ({
        ...layer,
        shape: [rows(layer.shape[0]), ...layer.shape.slice(1)],
      })),
      timings: this.timings,
      batchSize: batch,
    });
  }

  /**
   * This explanation, after a wait of so many milliseconds more. It takes the place of this one.
   * @internal
   */
  waited(milliseconds: number): Explanation {
    const { timings } = this;
    return new Explanation({ ...this, timings: { ...timings, queue: timings.queue + milliseconds } });
  }

  /**
   * This explanation with some of its maps only, under other positions among their image's targets. It takes the place of
   * this one, whose other maps are freed.
   * @internal
   */
  ofMaps(chosen: readonly { readonly index: number; readonly targetIndex: number }[]): Explanation {
    const [first] = chosen;
    const together = chosen.every(({ index }, position) => index === (first?.index ?? 0) + position);
    using all = this.heatmaps;
    return new Explanation({
      heatmaps: together ? all.narrow(first?.index ?? 0, chosen.length) : picked(all, chosen),
      outputs: this.outputs,
      maps: chosen.map(({ index, targetIndex }) => ({ ...(this.maps[index] as ExplainedMap), targetIndex })),
      layers: this.layers,
      timings: this.timings,
      batchSize: this.batchSize,
    });
  }

  /** The value of the target of each map, in the order of {@link heatmaps}. */
  get scores(): number[] {
    return this.maps.map((map) => map.score);
  }

  dispose(): void {
    if (this.#separate) for (const heatmap of this.#separate) heatmap.dispose();
    else this.heatmaps.dispose();
    disposeOutput(this.outputs);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Copies of some slices. */
function picked(tensor: Tensor, chosen: readonly { readonly index: number }[]): Tensor {
  const values = tensor.toTypedArray() as Float32Array;
  const shape = tensor.shape.slice(1);
  const size = elementCount(shape);
  const copy = new Float32Array(chosen.length * size);
  for (const [position, { index }] of chosen.entries())
    copy.set(values.subarray(index * size, (index + 1) * size), position * size);
  return Tensor.from(copy, [chosen.length, ...shape]);
}
