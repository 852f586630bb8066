import { Command } from 'commander';
import { parseCount } from '../options/arguments.js';
import { addBatchOptions, addChunkOptions, type BatchFlags, batchOptions } from '../options/batch.js';
import { batchLibrary } from '../options/queue.js';
import { RunReporter } from '../terminal/batch-run-report.js';
import { SomeImagesFailed } from '../terminal/exit-codes.js';

interface RunFlags extends BatchFlags {
  readonly concurrency: number;
  readonly batchSize: number;
}

/** Does a whole batch in this process. */
export function runCommand(signal: AbortSignal): Command {
  const command = new Command('run')
    .summary('explain them all on this machine, without Redis')
    .description(
      'Explains images in this process, without Redis, and writes manifest.jsonl. Run again, however it ended, it does only what is missing. Ends with 1 if an image could not be explained.',
    );
  const addOwn = () => {
    addChunkOptions(command.optionsGroup('The run:'))
      .option('-j, --concurrency <count>', 'chunks at once', parseCount, 1)
      .option('--batch-size <count>', 'images in one forward, at most', parseCount, 8)
      .option('--no-try-out', 'do not explain the first image before the others');
  };
  return addBatchOptions(command, { output: 'for the results', addOwn }).action(
    async (model: string, images: string[], flags: RunFlags) => {
      const options = await batchOptions(command, model, images, flags);
      const { runBatch } = await batchLibrary();
      const reporter = new RunReporter(flags.json ?? false);
      try {
        const report = await runBatch({
          ...options,
          concurrency: flags.concurrency,
          batchSize: flags.batchSize,
          signal,
          onEvent: (event) => reporter.tell(event),
        });
        reporter.end(report);
        if (report.failed + report.failedChunks.length > 0) throw new SomeImagesFailed();
      } catch (error) {
        reporter.interrupted();
        throw error;
      } finally {
        reporter.stop();
      }
    },
  );
}
