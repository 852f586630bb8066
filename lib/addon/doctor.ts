import { addonPath, native, readLibTorchRecord } from './addon.js';
import { findTorchvisionSync, type TorchvisionLibrary } from './operator-libraries.js';

/** What the library runs on, for bug reports and for `gradcam doctor`. */
export interface DoctorReport {
  readonly addonPath: string;
  readonly libtorch: {
    readonly version: string;
    /** The library file that was loaded. */
    readonly path: string;
    /** Where the build found it: `'LIBTORCH'`, `'python'`, `'cache'`, ... */
    readonly source: string;
    /** The versions that all tests of this package pass with. Others of the supported range should do. */
    readonly testedVersions: readonly string[];
  };
  /** The best instruction set that LibTorch uses on this processor: `'AVX512'`, `'AVX2'`, `'DEFAULT'`. */
  readonly cpuCapability: string;
  readonly cuda: {
    readonly available: boolean;
    readonly deviceCount: number;
    /** Why CUDA is not available, else null. */
    readonly reason: string | null;
    /** The CUDA that LibTorch was built for, `'13.0'`; null for a CPU build. */
    readonly runtimeVersion: string | null;
    /** cuDNN's, `'9.20.0'`; null without it. */
    readonly cudnnVersion: string | null;
    /** The newest CUDA that the NVIDIA driver runs; null without a driver. */
    readonly driverVersion: string | null;
    readonly devices: readonly {
      readonly name: string;
      readonly totalBytes: number;
    }[];
  };
  /** torchvision's operators, which detection models need; null where they were not found. */
  readonly torchvision: TorchvisionLibrary | null;
  readonly threads: {
    /** Threads that run jobs, one job each. */
    readonly executors: number;
    /** Threads LibTorch uses inside one job. */
    readonly intraOp: number;
  };
  readonly node: string;
  readonly platform: string;
}

/**
 * Loads the addon and reports what it found.
 * @throws {GradCamError} `ERR_ADDON_LOAD`
 */
export function doctor(): DoctorReport {
  const module = native();
  const build = module.buildInfo();
  const threads = module.threads();
  const record = readLibTorchRecord();
  return {
    addonPath,
    libtorch: {
      version: build.torchVersion,
      path: build.libtorchPath,
      source: record?.source ?? 'unknown',
      testedVersions: record?.testedVersions ?? [],
    },
    cpuCapability: build.cpuCapability,
    cuda: module.cuda(),
    torchvision: findTorchvisionSync(),
    threads: { executors: threads.executors, intraOp: threads.intraOpThreads },
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
  };
}
