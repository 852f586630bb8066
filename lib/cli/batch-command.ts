import { Command, Option } from 'commander';
import type { BatchFormat, BatchStatus } from '../batch/index.js';
import { type MethodName, methodNames } from '../cam/methods.js';
import type { Device } from '../model.js';
import { loadSidecar } from '../sidecar.js';
import {
  collect,
  type PreparationFlags,
  parseCount,
  parseInputSize,
  parseNumbers,
  parseWeight,
  preparation,
  readLabels,
} from './arguments.js';
import { BatchWatch, FoundPictures, printStatus, WorkerReporter } from './batch-report.js';
import { exitCodes, UsageError } from './exit-codes.js';

interface QueueFlags {
  readonly redis: string;
  readonly queue: string;
}

interface SubmitFlags extends PreparationFlags, QueueFlags {
  readonly output: string;
  readonly list?: string;
  readonly chunk: number;
  readonly method: MethodName;
  readonly layer?: string[];
  readonly class?: string[];
  readonly top?: number;
  readonly format: BatchFormat;
  readonly augSmooth?: boolean;
  readonly eigenSmooth?: boolean;
  readonly labels?: string;
  readonly imageWeight: number;
  readonly attempts: number;
  readonly device: Device;
  readonly tryOut: boolean;
  readonly json?: boolean;
}

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

// BullMQ is loaded by those who use it, not by every command.
const batchLibrary = () => import('../batch/index.js');

export function batchCommand(signal: AbortSignal): Command {
  return new Command('batch')
    .summary('explain very many images with many workers')
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

function withQueue(command: Command): Command {
  return command
    .addOption(
      new Option('--redis <url>', 'where the queue is; rediss:// for TLS')
        .env('REDIS_URL')
        .default('redis://127.0.0.1:6379'),
    )
    .option('--queue <name>', 'workers take the work of one queue', 'gradcam');
}

function submitCommand(signal: AbortSignal): Command {
  return withQueue(new Command('submit'))
    .summary('put images into the queue')
    .description(
      'Puts images into the queue, in chunks. Submitting again does nothing twice: it adds what is new, and tries again what failed.',
    )
    .argument('<model>', 'TorchScript file (.pt); its sidecar (model.json) is read')
    .argument('[images...]', "image files, folders with all below them, or patterns: 'photos/**/*.jpg'")
    .requiredOption('-o, --output <folder>', 'for the results; at the same path for all workers')
    .option('--list <file>', 'more images: a text with one path a line; - for standard input')
    .option('--chunk <count>', 'images in a chunk', parseCount, 64)
    .addOption(new Option('-m, --method <name>', 'how').choices(methodNames).default('gradcam'))
    .option('-l, --layer <path>', 'target layer; several are averaged; default: the suggested one', collect)
    .option('-c, --class <index-or-label>', 'class to explain; may be given several times', collect)
    .option('-t, --top <count>', "instead: the model's most likely classes", parseCount)
    .addOption(
      new Option('-f, --format <name>', 'overlay: a picture; npy: numbers; json: figures only')
        .choices(['overlay', 'npy', 'json'])
        .default('overlay'),
    )
    .option('--aug-smooth', 'average over six changed copies: smoother, six times the cost')
    .option('--eigen-smooth', 'keep the main pattern only: less noise')
    .option('--size <size>', 'what the model sees: 224 or 224x320 (height x width)', parseInputSize)
    .option('--resize <pixels>', 'shorter side before the centre is cut out', parseCount)
    .option('--mean <numbers>', 'of each channel, 0 to 1: 0.485,0.456,0.406', parseNumbers)
    .option('--std <numbers>', 'of each channel: 0.229,0.224,0.225', parseNumbers)
    .option('--labels <file>', 'class names: a JSON array, or one a line')
    .option('--image-weight <weight>', 'how much of the image stays under the heat', parseWeight, 0.5)
    .option('--attempts <count>', 'how often a chunk is tried that fails', parseCount, 3)
    .option('--device <device>', "for trying out: 'cpu', 'cuda', 'cuda:N' or 'auto'", 'cpu')
    .option('--no-try-out', 'do not explain the first image before queueing')
    .option('--json', 'print JSON')
    .action(async (model: string, images: string[], flags: SubmitFlags) => {
      if (flags.class && flags.top) throw new UsageError('Give --class or --top, not both.');
      if (images.length === 0 && flags.list === undefined)
        throw new UsageError('Give images, folders or patterns, or a file with --list.');
      const { submitBatch } = await batchLibrary();
      const found = new FoundPictures();
      try {
        const submitted = await submitBatch({
          model,
          images,
          output: flags.output,
          redis: flags.redis,
          queue: flags.queue,
          chunkSize: flags.chunk,
          method: flags.method,
          format: flags.format,
          image: preparation(await loadSidecar(model), flags),
          imageWeight: flags.imageWeight,
          augSmooth: flags.augSmooth ?? false,
          eigenSmooth: flags.eigenSmooth ?? false,
          attempts: flags.attempts,
          device: flags.device,
          tryOut: flags.tryOut,
          signal,
          onProgress: (progress) => found.update(progress.images),
          ...(flags.list === undefined ? {} : { list: flags.list }),
          ...(flags.layer === undefined ? {} : { targetLayers: flags.layer }),
          ...(flags.class === undefined ? {} : { classes: flags.class }),
          ...(flags.top === undefined ? {} : { top: flags.top }),
          ...(flags.labels === undefined ? {} : { labels: await readLabels(flags.labels) }),
        });
        found.stop();
        if (flags.json) console.log(JSON.stringify(submitted, null, 2));
        else FoundPictures.print(submitted, flags.queue);
      } finally {
        found.stop();
      }
    });
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
      process.once('SIGTERM', () => ending.abort());
      signal.addEventListener('abort', () => ending.abort(), { once: true });
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
        if (flags.json) console.log(JSON.stringify(status, null, 2));
        else printStatus(status);
        return;
      }
      const watch = new BatchWatch(flags.json ?? false);
      try {
        let status: BatchStatus;
        do {
          status = await read();
          watch.show(status);
        } while (!isOver(status) && (await pause(flags.interval * 1000, signal)));
      } finally {
        watch.stop();
      }
    });
}

function isOver({ chunks }: BatchStatus): boolean {
  return chunks.waiting + chunks.running + chunks.delayed === 0;
}

/** False when it was interrupted. */
function pause(milliseconds: number, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(true), milliseconds);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      resolve(false);
    });
  });
}

function collectCommand(): Command {
  return new Command('collect')
    .summary('put the manifest together')
    .description(
      'Writes manifest.jsonl: a line for every image with its result, class and score. Needs no Redis. Ends with 1 if an image is missing or could not be explained.',
    )
    .argument('<folder>', 'the output folder of a batch')
    .option('--json', 'print JSON')
    .action(async (folder: string, { json }: { json?: boolean }) => {
      const { collectManifest } = await batchLibrary();
      const collected = await collectManifest(folder);
      const { manifest, images, failed, results, missingChunks, missingImages, missingResults } = collected;
      if (json) console.log(JSON.stringify(collected, null, 2));
      else {
        console.log(`${manifest}\n`);
        console.log(`images   ${images}, of which ${failed} could not be explained`);
        console.log(`results  ${results}; images of the same content share one`);
        if (missingChunks > 0)
          console.log(`missing  ${missingImages} images of ${missingChunks} unfinished chunks`);
        for (const path of missingResults) console.log(`missing  ${path}`);
        if (missingResults.length > 0)
          console.log('\nTo compute them again, delete batches/ in the folder, and submit.');
      }
      if (failed + missingChunks + missingResults.length > 0) process.exitCode = exitCodes.someImagesFailed;
    });
}

function cancelCommand(): Command {
  return withQueue(new Command('cancel'))
    .summary('take batches out of the queue')
    .description(
      'Takes a batch, or all, out of the queue. What is done stays; submitting the same again goes on from there.',
    )
    .argument('[batch]', 'as submit and status name it; default: all')
    .action(async (batch: string | undefined, { redis, queue }: QueueFlags) => {
      const { cancelBatches } = await batchLibrary();
      const cancelled = await cancelBatches({ redis, queue, ...(batch === undefined ? {} : { batch }) });
      const { removedChunks, runningChunks } = cancelled;
      console.log(`chunks  ${removedChunks} removed, ${runningChunks} running are done to their end`);
    });
}
