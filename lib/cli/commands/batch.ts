import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import type { BatchStatus } from '../../batch/index.js';
import { UsageError } from '../../errors/usage-error.js';
import type { Device } from '../../model/load-model.js';
import { parseCount } from '../options/arguments.js';
import { batchLibrary, type QueueFlags, withQueue } from '../options/queue.js';
import { BatchWatch, printCollected, printStatus, WorkerReporter } from '../terminal/batch-report.js';
import { printJson } from '../terminal/each-image.js';
import { SomeImagesFailed } from '../terminal/exit-codes.js';
import { submitCommand } from './batch-submit.js';

interface WorkFlags extends QueueFlags {
  readonly concurrency: number;
  readonly batchSize: number;
  readonly device: Device;
  readonly model?: string;
  readonly takeOver: number;
  readonly exitWhenDone?: boolean;
}

interface StatusFlags extends QueueFlags {
  readonly watch?: boolean;
  readonly interval: number;
  readonly json?: boolean;
}

export function batchCommand(signal: AbortSignal): Command {
  return new Command('batch')
    .summary('explain very many images')
    .description('Explains very many images with any number of workers, which share a queue in Redis.')
    .addHelpText(
      'after',
      `
Examples:
  gradcam batch submit model.pt photos/ -o out/  once
  gradcam batch work                             on as many machines as you like
  gradcam batch status --watch                   how far is it?
  gradcam batch collect out/                     writes out/manifest.jsonl`,
    )
    .addCommand(submitCommand(signal))
    .addCommand(workCommand(signal))
    .addCommand(statusCommand(signal))
    .addCommand(collectCommand())
    .addCommand(cancelCommand());
}

function workCommand(signal: AbortSignal): Command {
  return withQueue(new Command('work'))
    .summary('explain chunks from the queue')
    .description(
      'Takes chunks from the queue and explains them, until Ctrl-C or SIGTERM: then it gives its chunk back, of which what is done stays done, and ends with 0.',
    )
    .option('-j, --concurrency <count>', 'chunks at once', parseCount, 1)
    .option('--batch-size <count>', 'images in one forward, at most', parseCount, 8)
    .option('--device <device>', "'cpu', 'cuda', 'cuda:N' or 'auto'", 'cpu')
    .option('--model <file>', 'where the model is here, if not where it was submitted')
    .option('--take-over <seconds>', 'a worker silent for so long loses its chunk', parseCount, 30)
    .option('--exit-when-done', 'end when the queue is empty instead of waiting')
    .action(async (flags: WorkFlags) => {
      const { runBatchWorker } = await batchLibrary();
      const ending = new AbortController();
      const end = () => ending.abort();
      process.once('SIGTERM', end);
      signal.addEventListener('abort', end, { once: true });
      if (signal.aborted) end();
      const reporter = new WorkerReporter(flags.queue);
      try {
        const report = await runBatchWorker({
          redis: flags.redis,
          queue: flags.queue,
          concurrency: flags.concurrency,
          batchSize: flags.batchSize,
          device: flags.device,
          takeOverAfter: flags.takeOver * 1000,
          exitWhenDone: flags.exitWhenDone ?? false,
          signal: ending.signal,
          onEvent: (event) => reporter.tell(event),
          ...(flags.model === undefined ? {} : { model: flags.model }),
        });
        reporter.end(report);
      } finally {
        reporter.stop();
        process.off('SIGTERM', end);
        signal.removeEventListener('abort', end);
      }
    });
}

function statusCommand(signal: AbortSignal): Command {
  return withQueue(new Command('status'))
    .summary('show how far the batches are')
    .description('Shows how far the batches of a queue are: images, rate, time left, failures.')
    .option('-w, --watch', 'go on showing it until all is done')
    .option('--interval <seconds>', 'with --watch: how often', parseCount, 2)
    .option('--json', 'print JSON; with --watch a line each time')
    .action(async (flags: StatusFlags) => {
      const { batchStatus } = await batchLibrary();
      const read = () => batchStatus({ redis: flags.redis, queue: flags.queue });
      if (!flags.watch) {
        const status = await read();
        if (flags.json) printJson(status);
        else printStatus(status);
        return;
      }
      const watch = new BatchWatch(flags.json ?? false);
      let status: BatchStatus;
      try {
        do {
          status = await read();
          watch.show(status);
        } while (!isOver(status) && (await pause(flags.interval * 1000, signal)));
      } finally {
        watch.stop();
      }
      if (!flags.json && process.stderr.isTTY) printStatus(status); // The bar is gone.
    });
}

function isOver({ chunks }: BatchStatus): boolean {
  return chunks.waiting + chunks.running + chunks.delayed === 0;
}

/** False when it was interrupted. */
function pause(milliseconds: number, signal: AbortSignal): Promise<boolean> {
  return sleep(milliseconds, true, { signal }).catch(() => false);
}

function collectCommand(): Command {
  return new Command('collect')
    .summary('put the manifest together')
    .description(
      'Writes manifest.jsonl: a line for every image with its result, class and score. Needs no Redis. Ends with 1 if an image is missing or could not be explained.',
    )
    .argument('<folder>', 'the output folder of a batch')
    .option('--batch <batch>', 'as submit and status name it; default: all of the folder')
    .option('--json', 'print JSON')
    .action(async (folder: string, { batch, json }: { batch?: string; json?: boolean }) => {
      const { collectManifest } = await batchLibrary();
      const collected = await collectManifest(folder, batch === undefined ? {} : { batch });
      if (json) printJson(collected);
      else printCollected(collected);
      const { failed, missingChunks, missingResults } = collected;
      if (failed + missingChunks + missingResults.length > 0) throw new SomeImagesFailed();
    });
}

function cancelCommand(): Command {
  return withQueue(new Command('cancel'))
    .summary('take batches out of the queue')
    .description(
      'Takes a batch out of the queue. What is done stays; submitting the same again goes on from there.',
    )
    .argument('[batch]', 'as submit and status name it')
    .option('--all', 'all batches of the queue')
    .option('--json', 'print JSON')
    .action(async (batch: string | undefined, flags: QueueFlags & { all?: boolean; json?: boolean }) => {
      const { redis, queue, all, json } = flags;
      if ((batch === undefined) === (all !== true)) throw new UsageError('Name a batch, or give --all.');
      const { cancelBatches } = await batchLibrary();
      const cancelled = await cancelBatches({ redis, queue, ...(batch === undefined ? {} : { batch }) });
      const { removedChunks, runningChunks } = cancelled;
      if (json) printJson(cancelled);
      else console.log(`chunks  ${removedChunks} removed, ${runningChunks} running are done to their end`);
    });
}
