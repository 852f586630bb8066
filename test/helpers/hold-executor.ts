import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { setThreads, threads } from 'node-gradcam';

/** An executor of this process that is busy until it is released. */
export interface HeldExecutor extends AsyncDisposable {
  /** Lets it go on, and sets the number of executors back; once. */
  release(): Promise<void>;
}

/**
 * Sets the number of executors, and keeps one of them busy: with the only one held, every job of this process waits, until
 * the test wants it to run. A worker thread does it, with a target function that waits; this thread stays free.
 */
export async function holdExecutor(executors = 1): Promise<HeldExecutor> {
  const before = threads();
  setThreads({ executors });
  const gate = new Int32Array(new SharedArrayBuffer(4));
  // Without Node's options of this process, of which --input-type would be refused.
  const options = { workerData: gate, execArgv: [] };
  const worker = new Worker(new URL('./executor-holder.js', import.meta.url), options);
  const ended = once(worker, 'exit');
  const [message] = await Promise.race([
    once(worker, 'message'),
    ended.then(() => ['The worker ended before it held an executor.']),
  ]);
  if (message !== 'held') throw new Error(String(message));
  let released = false;
  const release = async () => {
    if (released) return;
    released = true;
    Atomics.store(gate, 0, 1);
    Atomics.notify(gate, 0);
    await ended;
    setThreads(before);
  };
  return { release, [Symbol.asyncDispose]: release };
}
