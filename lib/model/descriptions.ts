import type { StageTimings } from '../addon/addon.js';
import type { ReshapeTransform } from './reshape-transform.js';

// What a model tells of itself.

/** A layer of a model: a submodule, known by its path of attributes. */
export interface Layer {
  /** Dotted path from the root, as in Python's `named_modules()`: `'layer4.2.conv3'`. */
  readonly path: string;
  /** Class name: `'Conv2d'`. */
  readonly type: string;
  /** 0 for the children of the root. */
  readonly depth: number;
}

/** What a layer did in one forward. */
export interface InspectedLayer extends Layer {
  /** How often forward called it. */
  readonly calls: number;
  /** The output's shape of each call, in order; null where the output is not a tensor. */
  readonly outputShapes: readonly (readonly number[] | null)[];
  /**
   * Where the output is not a tensor, the tensors in it, of the last call; else none. `output` is what a
   * `TargetLayer` takes to name one.
   */
  readonly outputs: readonly {
    readonly output: readonly (string | number)[];
    readonly shape: readonly number[];
  }[];
}

/** A layer the library chose, and why. */
export interface SuggestedLayer {
  readonly path: string;
  readonly reason: string;
  /** How the layer's output becomes a map, for layers of transformers; null where it is one. */
  readonly reshapeTransform: ReshapeTransform | null;
}

export interface Inspection {
  readonly layers: readonly InspectedLayer[];
  /** The layer that is used when none is named; null where none fits. */
  readonly suggested: SuggestedLayer | null;
  /** Why there is no suggestion, else null. */
  readonly suggestionFailure: string | null;
}

/** A parameter or buffer of a model. */
export interface Weight {
  /** Dotted path from the root, as in Python's `state_dict()`: `'layer4.2.conv3.weight'`. */
  readonly name: string;
  readonly shape: readonly number[];
}

/** A fact about a model that changes what its results mean, or how it can be run. */
export interface ModelWarning {
  /**
   * `'training-mode'`: the graph holds dropout or norms as they train, since it was traced without `model.eval()`.
   * `'mixes-images'`: BatchNorm takes its statistics from the images that run together, by training mode or by design
   * (`track_running_stats=False`), so that each changes the results of the others.
   * `'one-image'`: it was found that the method takes one image at a time; its trace holds the batch size.
   * `'exact-batch'`: it was found that an exported program takes only as many images as it was exported for.
   */
  readonly code: 'training-mode' | 'mixes-images' | 'one-image' | 'exact-batch';
  /** What it means and what to do, in a sentence or two. */
  readonly message: string;
  /** Of which of the model's methods it is true. */
  readonly modelMethod: string;
}

/** What a model did and holds. Times are in milliseconds, added up over all batches. */
export interface ModelStatistics {
  /** Forwards, inspections, warm-ups, explains, attributions and metrics, each counted when it has come to its end. */
  readonly jobs: {
    readonly done: number;
    readonly failed: number;
    /** Ended by their signal. */
    readonly aborted: number;
    readonly running: number;
    readonly waiting: number;
  };
  /** Choices of target layers whose hooked graphs are kept, at most 16. */
  readonly plans: number;
  /** The stages of all batches that were explained. */
  readonly timings: StageTimings;
  readonly memory: {
    /** Bytes of parameters and buffers; 0 once disposed. */
    readonly weightBytes: number;
    /** Bytes of this model's weights that are kept once more, in the order that oneDNN wants; its plans share them. */
    readonly packedBytes: number;
    /** Bytes of the large blocks that tensors of this process hold, of all models and threads. */
    readonly tensorBytes: number;
    /** Bytes kept for the next tensors of this process; given back when no job has run for two seconds. */
    readonly cachedBytes: number;
    /** The same of each GPU that this process uses; what is cached goes back in the same way. */
    readonly devices: readonly {
      /** `'cuda:N'` */
      readonly device: string;
      readonly tensorBytes: number;
      readonly cachedBytes: number;
    }[];
  };
}
