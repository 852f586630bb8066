import { channel } from 'node:diagnostics_channel';
import { debuglog } from 'node:util';
import type { StageTimings } from '../addon/addon.js';

/** What an explain was asked for. The messages of the channels carry it. */
export interface ExplainFacts {
  /** The model's file. */
  readonly model: string;
  /** Names of the methods: one, unless `compareMethods()` asked. */
  readonly methods: readonly string[];
  /** Paths of the target layers; empty where the library chooses, or needs none. */
  readonly layers: readonly string[];
  /** Images in the batch. */
  readonly images: number;
}

/** Of `gradcam:explain:start`: a call was accepted. */
export interface ExplainStartMessage extends ExplainFacts {
  /** The call's number in this thread; the messages of one call share it. */
  readonly id: number;
}

/** Of `gradcam:explain:end`: a call's promise is about to resolve. */
export interface ExplainEndMessage extends ExplainStartMessage {
  /** Milliseconds since the start. */
  readonly duration: number;
}

/** Of `gradcam:explain:error`: a call's promise is about to reject, with a failure or with its signal's reason. */
export interface ExplainErrorMessage extends ExplainEndMessage {
  readonly error: unknown;
}

/** Of `gradcam:explain:batch`: images were computed together. With an `Explainer` they may be of several calls. */
export interface ExplainBatchMessage extends ExplainFacts {
  readonly timings: StageTimings;
}

const started = channel('gradcam:explain:start');
const computed = channel('gradcam:explain:batch');
const ended = channel('gradcam:explain:end');
const failed = channel('gradcam:explain:error');

const log = debuglog('gradcam');
let calls = 0;

/** @internal Writes a line where NODE_DEBUG=gradcam asks for it. */
export function debug(line: () => string): void {
  if (log.enabled) log('%s', line());
}

/** What failed, in few words. */
function describeFailure(error: unknown): string {
  const { code, name, message } = error as { code?: unknown; name?: unknown; message?: unknown };
  return `${code ?? name ?? 'error'}: ${String(message ?? error).split('\n')[0]}`;
}

const countImages = ({ images }: ExplainFacts) => `${images} image${images === 1 ? '' : 's'}`;
const milliseconds = (value: number) => `${value.toFixed(1)} ms`;

/** @internal Runs one call of explain and tells its start and its end. */
export async function observeExplain<T>(facts: ExplainFacts, run: () => Promise<T>): Promise<T> {
  const id = ++calls;
  const start = performance.now();
  const message: ExplainStartMessage = { id, ...facts };
  started.publish(message);
  debug(
    () =>
      `explain ${id} starts: ${facts.methods.join(', ')} of ${countImages(facts)} at ` +
      `${facts.layers.join(', ') || 'a layer to be chosen'}, ${facts.model}`,
  );
  try {
    const result = await run();
    const duration = performance.now() - start;
    ended.publish({ ...message, duration } satisfies ExplainEndMessage);
    debug(() => `explain ${id} ends after ${milliseconds(duration)}`);
    return result;
  } catch (error) {
    const duration = performance.now() - start;
    failed.publish({ ...message, duration, error } satisfies ExplainErrorMessage);
    debug(() => `explain ${id} fails after ${milliseconds(duration)}: ${describeFailure(error)}`);
    throw error;
  }
}

/** @internal Tells that a batch was computed, and what its stages took. */
export function observeBatch(message: ExplainBatchMessage): void {
  computed.publish(message);
  debug(() => {
    const stages = Object.entries(message.timings).map(([stage, time]) => `${stage} ${milliseconds(time)}`);
    return `batch of ${countImages(message)}: ${stages.join(', ')}`;
  });
}
