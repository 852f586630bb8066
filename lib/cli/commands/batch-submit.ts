import { Command } from 'commander';
import { addBatchOptions, addChunkOptions, type BatchFlags, batchOptions } from '../options/batch.js';
import { addSecretOption, batchLibrary, type QueueFlags, readSecret, withQueue } from '../options/queue.js';
import { FoundPictures } from '../terminal/batch-report.js';
import { printJson } from '../terminal/each-image.js';

/** Checks the options, and puts a batch into the queue. */
export function submitCommand(signal: AbortSignal): Command {
  const command = new Command('submit')
    .summary('put images into the queue')
    .description(
      'Puts images into the queue, in chunks. Submitting again does nothing twice: it adds what is new, and tries again what failed.',
    );
  const addOwn = () => {
    withQueue(command.optionsGroup('The queue:'));
    addSecretOption(addChunkOptions(command), 'signs the chunks').option(
      '--no-try-out',
      'do not explain the first image before queueing',
    );
  };
  return addBatchOptions(command, {
    output: 'for the results; at the same path for all workers',
    device: "for trying out: 'cpu', 'cuda', 'cuda:N' or 'auto'",
    addOwn,
  }).action(async (model: string, images: string[], flags: BatchFlags & QueueFlags) => {
    const options = await batchOptions(command, model, images, flags);
    const secret = await readSecret(flags);
    const { submitBatch } = await batchLibrary();
    const found = new FoundPictures();
    try {
      const submitted = await submitBatch({
        ...options,
        redis: flags.redis,
        queue: flags.queue,
        ...(secret === undefined ? {} : { secret }),
        signal,
        onProgress: (progress) => found.update(progress.images),
      });
      found.stop();
      if (flags.json) printJson(submitted);
      else FoundPictures.print(submitted, flags.queue);
    } finally {
      found.stop();
    }
  });
}
