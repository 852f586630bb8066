// What the native module reports of itself: its build, memory, GPUs, models, and the stages of an explain.

export interface NativeBuildInfo {
  /** LibTorch's version the addon was compiled against. */
  compiledTorchVersion: string;
  /** LibTorch's version that was loaded. */
  torchVersion: string;
  cpuCapability: string;
  /** The file LibTorch was loaded from. */
  libtorchPath: string;
}

/** What the process holds, of all models and threads. Where nothing leaks, work that has ended leaves no trace here. */
export interface NativeMemory {
  /** Bytes of the large blocks that tensors hold. */
  tensorBytes: number;
  /** Bytes kept for the next tensors; given back when no job has run for two seconds. */
  cachedBytes: number;
  /**
   * Blocks of any size that LibTorch's CPU allocator has given out and not got back. Where a process has several copies of
   * this package, the first one's allocator serves them all, and it alone counts.
   */
  liveBlocks: number;
  /** Their bytes, as large as they are rounded up to; of those below 256 KiB only on Linux x86-64. */
  liveBytes: number;
  /** Of LibTorch's tensors on each GPU that this process uses. */
  devices: { device: string; tensorBytes: number; cachedBytes: number }[];
  /** Objects of the addon, in all its environments. */
  liveObjects: {
    /** Handles that JavaScript holds, disposed or not, until they are garbage collected. */
    tensors: number;
    models: number;
    targets: number;
    cancellations: number;
    /** JavaScript functions that jobs hold: target functions and progress callbacks. */
    functions: number;
    /** Jobs that wait, run, or have a result that is not delivered. */
    jobs: number;
    /** Hooked graphs that models or jobs hold. */
    plans: number;
    /** JavaScript environments, the main thread and workers, that have loaded the addon. */
    environments: number;
  };
}

export interface NativeCuda {
  available: boolean;
  /** Why not, when not available. */
  reason: string | null;
  deviceCount: number;
  /** Of LibTorch's CUDA part, null for a CPU build. */
  runtimeVersion: string | null;
  cudnnVersion: string | null;
  /** The newest CUDA that the driver runs. */
  driverVersion: string | null;
  devices: { name: string; totalBytes: number }[];
}

/** A model's jobs since it was loaded, and the plans of layers it keeps. */
export interface NativeModelStatistics {
  done: number;
  failed: number;
  aborted: number;
  running: number;
  waiting: number;
  plans: number;
  /** Of weights in oneDNN's order, which the plans share. */
  packedBytes: number;
}

/** Milliseconds of each stage of one explain. */
export interface StageTimings {
  /** Waiting for a free executor thread. */
  readonly queue: number;
  /** Putting hooks into the graph; next to nothing from the second call on. */
  readonly plan: number;
  readonly forward: number;
  readonly backward: number;
  /** Class activation maps, scaling and resizing. */
  readonly cam: number;
}

/** How a plan runs the model. Nodes are operations of the graph; a part that does not exist has none. */
export interface NativePlan {
  prefix: { nodes: number; graph: string };
  tail: { nodes: number; graph: string };
  crossingValues: number;
  precision: 'float32' | 'bfloat16';
  foldedBatchNorms: number;
  fusedBatchNorms: number;
  fusedConvolutions: number;
  fusedLinears: number;
  fusedOperations: number;
}
