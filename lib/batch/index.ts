/** Offline jobs over many pictures, for any number of workers: `node-gradcam/batch`. @packageDocumentation */

export type { SessionOptions } from './explaining/explain-session.js';
export {
  type CollectedEntry,
  type CollectedManifest,
  type CollectOptions,
  collectManifest,
} from './output/collect.js';
export type { ManifestClass, ManifestEntry } from './output/folder.js';
export type { ChunkSummary } from './output/summary.js';
export type { BatchOptions } from './preparation/options.js';
export { type CancelBatchOptions, type CancelledBatches, cancelBatches } from './queue/cancel.js';
export type { BatchQueueOptions } from './queue/redis.js';
export {
  type BatchProgress,
  type BatchStatus,
  batchStatus,
  type FailedChunk,
  type RunningChunk,
} from './queue/status.js';
export { type BatchRunReport, type RunBatchOptions, runBatch } from './run/run.js';
export type { FailedRun } from './run/run-chunks.js';
export type { RunEvent } from './run/run-event.js';
export { type BatchFormat, batchFormats } from './specification/specification.js';
export { type SubmitBatchOptions, type SubmittedBatch, submitBatch } from './submit/submit.js';
export {
  type BatchWorkerOptions,
  type BatchWorkerReport,
  runBatchWorker,
  type WorkerEvent,
} from './worker/worker.js';
