import type { ModelArguments } from './model-arguments.js';
import type {
  NativeBuildInfo,
  NativeCuda,
  NativeMemory,
  NativeModelStatistics,
  NativePlan,
  StageTimings,
} from './reports.js';

export type * from './model-arguments.js';
export type * from './reports.js';

/**
 * The one description of the native module: what is declared here is implemented in native/binding/. Nothing here is public.
 */

/** Element types a tensor can have. JavaScript sees float16 and bfloat16 as float32 values. */
export type DType =
  | 'float16'
  | 'bfloat16'
  | 'float32'
  | 'float64'
  | 'uint8'
  | 'int8'
  | 'int16'
  | 'int32'
  | 'int64'
  | 'bool';

/** The typed arrays that tensors are made of and read into. */
export type TensorData =
  | Float32Array
  | Float64Array
  | Uint8Array
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array;

declare const opaque: unique symbol;
/** A C++ object in JavaScript's hands; only the native module can look inside. */
export interface NativeReference<Kind extends string> {
  readonly [opaque]: Kind;
}
export type TensorReference = NativeReference<'tensor'>;
export type ModelReference = NativeReference<'model'>;
export type ScriptedTargetReference = NativeReference<'target'>;
export type CancellationReference = NativeReference<'cancellation'>;

export interface NativeTensor {
  readonly reference: TensorReference;
  readonly shape: number[];
  readonly dtype: DType;
  readonly device: string;
}

/** A model's output as it came: a tensor, or tuples, lists and dictionaries of them. */
export type NativeOutput =
  | NativeTensor
  | NativeOutput[]
  | { [key: string]: NativeOutput }
  | number
  | string
  | boolean
  | null;

export interface NativeLayer {
  path: string;
  type: string;
  depth: number;
}

/** How a model is loaded. */
export interface NativeLoadOptions {
  device: string;
  dtype: DType | 'auto';
  libraries: readonly string[];
  precision: 'float32' | 'bfloat16';
  tf32: boolean;
  cudnnBenchmark: boolean;
  /** For the parameters that a call leaves out. */
  arguments: ModelArguments;
}

/** What a method of a model is called with. */
export interface NativeInputs {
  /** Of each of the model's inputs the parts that make its batch. */
  readonly tensors: readonly (readonly TensorReference[])[];
  /** Copies whose objects have no prototype. */
  readonly arguments: ModelArguments;
}

export interface NativeModelWarning {
  readonly code: 'training-mode' | 'mixes-images' | 'one-image' | 'exact-batch';
  readonly message: string;
  readonly modelMethod: string;
}

export interface NativeModel {
  readonly device: string;
  /** Floating-point type of the parameters, or null where the model has none. */
  readonly dtype: DType | null;
  readonly parameterCount: number;
  readonly byteLength: number;
  /** True where the file was frozen: its modules are gone. */
  readonly frozen: boolean;
  /** A program of torch.export, not TorchScript. */
  readonly exported: boolean;
  /** The number of images that a program was exported for, where it is a fixed one. */
  readonly exportedBatch: number | null;
  /** True where forward takes its images as a list. */
  readonly takesImageList: boolean;
  readonly layers: NativeLayer[];
  readonly methods: string[];
  /** Of each method: `forward(x: Tensor, sr: int = 16000)`. */
  readonly signatures: string[];
  /** Parameters, then buffers. */
  readonly weights: { name: string; shape: number[] }[];
  readonly reference: ModelReference;
}

export interface NativeLayerReport extends NativeLayer {
  /** How often forward called the layer. */
  calls: number;
  /** Output shapes of each call; null where the output is not a tensor. */
  outputShapes: (number[] | null)[];
  /** The tensors in an output that is not a tensor, of the last call; none where it is one. */
  outputs: { output: NativeSelector; shape: number[] }[];
}

export interface NativeInspection {
  layers: NativeLayerReport[];
  /** The path is empty where there is no suggestion; the reason says why this layer, or why none. */
  suggestion: {
    path: string;
    reason: string;
    reshape: { kind: 'tokens'; prefixTokens: number; grid?: number[] } | { kind: 'nhwc' } | null;
  };
}

/** The way to one of several tensors: keys and positions, outermost first. */
export type NativeSelector = (string | number)[];

/** Which call of a layer that runs more than once: its index, or the last. */
export type NativeCallChoice = number | 'last' | 'all';

export interface NativeTarget {
  kind:
    | 'class'
    | 'rank'
    | 'softmax'
    | 'rest'
    | 'binary'
    | 'raw-scores'
    | 'softmax-output'
    | 'segmentation'
    | 'boxes'
    | 'finer'
    | 'finer-ranks'
    | 'vector'
    | 'cosine'
    | 'concept'
    | 'scripted'
    | 'function';
  /** A class; of 'rank' the rank, 0 for the highest. */
  category?: number;
  /** Of 'finer' the other classes, of 'finer-ranks' their ranks of nearness, of 'boxes' the labels. */
  others?: readonly number[];
  /** Of 'finer' the weight of the other classes, of 'boxes' the least overlap. */
  alpha?: number;
  /** A mask, vector or boxes. */
  tensor?: TensorReference;
  scripted?: ScriptedTargetReference;
  /** Called on the JavaScript thread while the executor waits; gives the score, of one element. */
  function?: (output: NativeTensor) => TensorReference;
}

export interface NativeMethodRequest {
  /** A name that native/core/cam knows: pytorch-grad-cam's class. */
  name: string;
  eigenSmooth: boolean;
  multiplyLayers?: boolean;
  femDeviations?: number;
  seed?: number;
  batchSize?: number;
  ratioToAblate?: number;
  linear?: string;
  samples?: number;
  deviation?: number;
  noise?: TensorReference;
}

/** How a layer's output becomes [B, C, ...space]. */
export type NativeReshape =
  | { kind: 'tokens'; prefixTokens: number | null; grid: readonly number[] | null; batchFirst: boolean }
  | { kind: 'nhwc' }
  | { kind: 'nchw' }
  | { kind: 'featurePyramid' };

export interface NativeExplainRequest {
  methods: readonly NativeMethodRequest[];
  /** Changed copies of the input whose maps are averaged; none: the input as it is. */
  augmentations: readonly { flip: boolean; multiply: number }[];
  inputs: NativeInputs;
  /** The output is empty where what the layer gives is meant. */
  layers: { path: string; call: NativeCallChoice; output: NativeSelector }[];
  /** Which of the model's methods runs. */
  modelMethod: string;
  output: (string | number)[];
  /** One list per image, or one list for all images. */
  reshape: NativeReshape | null;
  targets: NativeTarget[][];
  upsample: 'none' | 'bilinear' | 'bicubic';
  optimize: boolean;
}

export interface NativeExplanation {
  /**
   * Of each requested method float32 [N, H, W] (or [N, L], [N, D, H, W]), one map per image and target, by image, then
   * by target, and for each whether it is above zero anywhere.
   */
  methods: { heatmaps: NativeTensor; hasPositiveEvidence: boolean[] }[];
  outputs: NativeOutput;
  maps: {
    imageIndex: number;
    targetIndex: number;
    classIndex: number | null;
    score: number;
  }[];
  /** The layer calls the maps were computed from. */
  layers: { path: string; call: number; output: NativeSelector; shape: number[] }[];
  timings: StageTimings;
}

/** What is done to images before the model is asked for scores. */
export interface NativePerturbation {
  kind: 'none' | 'multiply' | 'remove-most' | 'remove-least' | 'deletion' | 'insertion';
  /** Of removals the share that stays; null for Otsu's threshold. */
  percentile: number | null;
  noise: number;
  seed: number;
  pixelsPerStep: number;
  baseline: number;
}

export interface NativeAttributionRequest {
  kind: 'saliency' | 'guided-backprop' | 'integrated-gradients';
  inputs: NativeInputs;
  modelMethod: string;
  output: (string | number)[];
  targets: NativeTarget[][];
  rule: 'gausslegendre' | 'riemann_trapezoid';
  steps: number;
  batchSize: number;
  baseline: number;
}

export interface NativeAttribution {
  /** float32 [N, C, ...space], by image, then by target. */
  attributions: NativeTensor;
  outputs: NativeOutput;
  maps: {
    imageIndex: number;
    targetIndex: number;
    classIndex: number | null;
    score: number;
    convergenceDelta: number;
  }[];
}

/** What an operation of a tensor is told besides its operands. */
export interface NativeOperationArguments {
  readonly dimensions: readonly number[];
  readonly first?: number;
  readonly second?: number;
  readonly keepDimensions?: boolean;
}

export interface NativeModule {
  buildInfo(): NativeBuildInfo;
  cuda(): NativeCuda;
  /** True once a GPU failed in a way that ends CUDA for this process. Cheap. */
  deviceLost(): boolean;
  /** Cheap. */
  memory(): NativeMemory;
  tensorFromTypedArray(data: TensorData, shape: readonly number[]): NativeTensor;
  /** Copies the elements into an array of exactly their kind and number. */
  tensorCopyTo(tensor: TensorReference, array: TensorData): void;
  /** A second handle of the same memory, which lives on when the first is disposed. */
  tensorShare(tensor: TensorReference): NativeTensor;
  tensorAt(tensor: TensorReference, index: number): NativeTensor;
  /** `length` slices of the first dimension from `start` on. */
  tensorNarrow(tensor: TensorReference, start: number, length: number): NativeTensor;
  /** A differentiable operation of native/core/values/tensor_operations.cc, by name, at once on this thread. */
  tensorOperation(
    name: string,
    operands: readonly TensorReference[],
    how: NativeOperationArguments,
  ): NativeTensor;
  tensorDispose(tensor: TensorReference): void;
  threads(): { executors: number; intraOpThreads: number };
  setThreads(executors: number, intraOpThreads: number): void;
  createCancellation(): CancellationReference;
  cancel(cancellation: CancellationReference): void;
  /** Bytes outside of the heap that V8 was told of; `process.memoryUsage()` does not show them. */
  externalMemory(): number;
  /** Cancels all jobs and waits for those that run. Nothing can be started any more. */
  close(): void;
  loadModel(
    path: string,
    options: NativeLoadOptions,
    cancellation: CancellationReference,
  ): Promise<NativeModel>;
  /** Writes an exported program as a TorchScript file. */
  convertModel(
    path: string,
    how: { readonly to: string; readonly libraries: readonly string[] },
    cancellation: CancellationReference,
  ): Promise<void>;
  loadTarget(path: string, cancellation: CancellationReference): Promise<ScriptedTargetReference>;
  forward(
    model: ModelReference,
    inputs: NativeInputs,
    cancellation: CancellationReference,
    modelMethod: string,
  ): Promise<NativeOutput>;
  inspect(
    model: ModelReference,
    inputs: NativeInputs,
    cancellation: CancellationReference,
    modelMethod: string,
  ): Promise<NativeInspection>;
  factorize(
    model: ModelReference,
    request: {
      inputs: NativeInputs;
      layers: NativeExplainRequest['layers'];
      modelMethod: string;
      reshape: NativeReshape | null;
      components: number;
      seed: number;
      startConcepts?: TensorReference;
      startExplanations?: TensorReference;
      /** A linear layer's path, or empty. */
      linear: string;
      optimize: boolean;
    },
    cancellation: CancellationReference,
    onProgress?: (done: number, total: number) => void,
  ): Promise<{
    concepts: NativeTensor;
    explanations: NativeTensor;
    conceptOutputs: NativeTensor | null;
    outputs: NativeOutput;
    rounds: number;
  }>;
  perturbedScores(
    model: ModelReference,
    request: NativePerturbation & {
      inputs: NativeInputs;
      heatmaps: TensorReference | null;
      modelMethod: string;
      output: (string | number)[];
      targets: NativeTarget[][];
    },
    cancellation: CancellationReference,
  ): Promise<{ scores: NativeTensor; images: NativeTensor | null }>;
  attribute(
    model: ModelReference,
    request: NativeAttributionRequest,
    cancellation: CancellationReference,
    onProgress?: (done: number, total: number) => void,
  ): Promise<NativeAttribution>;
  warmUp(
    model: ModelReference,
    request: Pick<NativeExplainRequest, 'inputs' | 'layers' | 'modelMethod' | 'optimize'>,
    cancellation: CancellationReference,
  ): Promise<void>;
  describePlan(
    model: ModelReference,
    request: Pick<NativeExplainRequest, 'layers' | 'modelMethod' | 'optimize'>,
    cancellation: CancellationReference,
  ): Promise<NativePlan>;
  explain(
    model: ModelReference,
    request: NativeExplainRequest,
    cancellation: CancellationReference,
    onProgress?: (done: number, total: number) => void,
  ): Promise<NativeExplanation>;
  /** A copy of a parameter or buffer on the CPU; null where there is none of that name. */
  modelWeight(model: ModelReference, name: string): NativeTensor | null;
  modelStatistics(model: ModelReference): NativeModelStatistics;
  /** Cheap; none once the model's memory is free. */
  modelWarnings(model: ModelReference): NativeModelWarning[];
  /** Refuses new jobs at once; resolves when the last running one has ended and the memory is free. */
  disposeModel(model: ModelReference): Promise<void>;
}
