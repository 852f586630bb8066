/** Offline jobs over many pictures, for any number of workers: `node-gradcam/batch`. @packageDocumentation */

export {
  type CollectedEntry,
  type CollectedManifest,
  type CollectOptions,
  collectManifest,
} from './output/collect.js';
export type { ManifestClass, ManifestEntry } from './output/folder.js';
export { type CancelBatchOptions, type CancelledBatches, cancelBatches } from './queue/cancel.js';
export type { ChunkSummary } from './queue/ledger.js';
export type { BatchQueueOptions } from './queue/redis.js';
export {
  type BatchProgress,
  type BatchStatus,
  batchStatus,
  type FailedChunk,
  type RunningChunk,
} from './queue/status.js';
export { type BatchFormat, batchFormats } from './specification/specification.js';
export { type SubmitBatchOptions, type SubmittedBatch, submitBatch } from './submit/submit.js';
export type { SessionOptions } from './worker/explain-session.js';
export {
  type BatchWorkerOptions,
  type BatchWorkerReport,
  runBatchWorker,
  type WorkerEvent,
} from './worker/worker.js';
