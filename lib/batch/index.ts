/** Offline jobs over many pictures, for any number of workers: `node-gradcam/batch`. @packageDocumentation */

export { type CancelBatchOptions, type CancelledBatches, cancelBatches } from './cancel.js';
export {
  type CollectedEntry,
  type CollectedManifest,
  type CollectOptions,
  collectManifest,
} from './collect.js';
export type { SessionOptions } from './explain-session.js';
export type { ChunkSummary } from './ledger.js';
export type { ManifestClass, ManifestEntry } from './output-folder.js';
export type { BatchQueueOptions } from './redis.js';
export { type BatchFormat, batchFormats } from './specification.js';
export {
  type BatchProgress,
  type BatchStatus,
  batchStatus,
  type FailedChunk,
  type RunningChunk,
} from './status.js';
export { type SubmitBatchOptions, type SubmittedBatch, submitBatch } from './submit.js';
export {
  type BatchWorkerOptions,
  type BatchWorkerReport,
  runBatchWorker,
  type WorkerEvent,
} from './worker.js';
