import type { SingleBar } from 'cli-progress';
import type {
  BatchStatus,
  BatchWorkerReport,
  CollectedManifest,
  SubmittedBatch,
  WorkerEvent,
} from '../../batch/index.js';
import { count, describeChunk, describeFailure, describeTime, lineOf, printFailures } from './batch-words.js';
import { progressBar } from './progress.js';

/** Tells how many pictures were found as a batch is submitted. */
export class FoundPictures {
  #bar: SingleBar | null = null;

  update(images: number): void {
    if (!process.stderr.isTTY) return;
    if (this.#bar === null) {
      this.#bar = progressBar('{value} images found');
      this.#bar.start(Number.MAX_SAFE_INTEGER, 0);
    }
    this.#bar.update(images);
  }

  stop(): void {
    this.#bar?.stop();
    this.#bar = null;
  }

  static print(
    { batch, output, images, chunks, chunksDone, chunksQueued }: SubmittedBatch,
    queue: string,
  ): void {
    console.log(`Batch ${batch}, queue ${queue}\n`);
    console.log(`images  ${images} in ${count(chunks, 'chunk')}`);
    const added = chunks - chunksDone - chunksQueued;
    console.log(`chunks  ${added} added, ${chunksQueued} queued before, ${chunksDone} done before`);
    console.log(`output  ${output}`);
  }
}

/** Tells what a worker does: a line a chunk on standard output, a bar for the running chunk on standard error. */
export class WorkerReporter {
  readonly #progress = new Map<string, { done: number; images: number }>();
  #bar: SingleBar | null = null;
  #lastTrouble = '';

  readonly #queue: string;

  constructor(queue: string) {
    this.#queue = queue;
  }

  tell(event: WorkerEvent): void {
    switch (event.kind) {
      case 'ready':
        console.log(`Working on the queue ${this.#queue}. Ctrl-C or SIGTERM to end.`);
        return;
      case 'progress':
        this.#progress.set(event.chunk, event);
        this.#drawBar();
        return;
      case 'finished':
        this.#print(event.chunk, describeChunk(event.summary));
        break;
      case 'failed':
        this.#print(event.chunk, describeFailure(event));
        break;
      case 'taken-back':
        this.#print(event.chunk, 'taken back from a worker that is gone');
        break;
      case 'cancelled':
        this.#print(event.chunk, 'dropped, its batch was cancelled');
        break;
      case 'trouble':
        if (event.message !== this.#lastTrouble) this.#print('', `warning: ${event.message}`);
        this.#lastTrouble = event.message;
        return;
    }
    this.#progress.delete(event.chunk);
    this.#lastTrouble = '';
  }

  end({ chunks, images, failed }: BatchWorkerReport): void {
    this.stop();
    const rest = failed > 0 ? `, of which ${failed} could not be explained` : '';
    console.log(`Ended after ${count(chunks, 'chunk')}: ${count(images, 'image')}${rest}.`);
  }

  stop(): void {
    this.#bar?.stop();
    this.#bar = null;
  }

  #drawBar(): void {
    if (!process.stderr.isTTY) return;
    const running = [...this.#progress.values()];
    const total = running.reduce((sum, { images }) => sum + images, 0);
    if (this.#bar === null) {
      this.#bar = progressBar('{bar} {value}/{total} of the running chunk');
      this.#bar.start(total, 0);
    }
    this.#bar.setTotal(total);
    this.#bar.update(running.reduce((sum, { done }) => sum + done, 0));
  }

  #print(chunk: string, line: string): void {
    this.stop();
    const write = line.startsWith('warning') ? console.error : console.log;
    write(lineOf(chunk, line));
  }
}

/** The status, in lines of at most 80 columns but for paths and reasons. */
export function printStatus(status: BatchStatus): void {
  const { chunks } = status;
  const rows: [string, string][] = [
    ['queue', `${status.queue} at ${status.redis}`],
    ['workers', String(status.workers)],
    [
      'chunks',
      `${chunks.running} running, ${chunks.waiting} waiting, ${chunks.delayed} to be tried again, ${chunks.failed} failed`,
    ],
    ['rate', describeRate(status)],
  ];
  print(rows);
  for (const { chunk, worker, done, images } of status.running)
    console.log(
      `  ${''.padEnd(9)}${lineOf('', `${chunk.slice(0, 8)}: ${done} of ${count(images, 'image')}, by ${worker}`)}`,
    );
  if (status.batches.length === 0) console.log('\nNothing was submitted to this queue.');
  for (const each of status.batches) {
    const { batch, model, method, output, submittedAt, submissionComplete, chunks, images } = each;
    console.log(`\nbatch ${batch}, ${method}, submitted ${submittedAt.slice(0, 16).replace('T', ' ')} UTC`);
    const share = images.total === 0 ? 0 : images.done / images.total;
    const filled = Math.floor(share * 40);
    print([
      ['', `${'█'.repeat(filled)}${'░'.repeat(40 - filled)} ${(share * 100).toFixed(1)}%`],
      ...(submissionComplete
        ? []
        : [['', 'being submitted; if that was interrupted, submit it again'] as [string, string]]),
      ['model', model],
      ['output', output],
      ['images', `${images.done} of ${images.total} done, ${images.failed} failed`],
      ['', `${images.computed} explained, ${images.reused} there already, ${images.duplicates} repeated`],
      ['chunks', `${chunks.done} of ${chunks.total} done`],
    ]);
  }
  if (status.failedChunks.length > 0) console.log('\nfailed chunks (submit again to try them again)');
  for (const { chunk, images, attempts, reason } of status.failedChunks)
    console.log(`  ${lineOf(chunk, `${count(images, 'image')}, ${count(attempts, 'attempt')}: ${reason}`)}`);
}

export function printCollected(collected: CollectedManifest): void {
  const { manifest, images, failed, failures, results, missingChunks, missingImages, missingResults } =
    collected;
  console.log(`${manifest}\n`);
  console.log(`images   ${images}, of which ${failed} could not be explained`);
  console.log(`results  ${results}; images of the same content share one`);
  printFailures(failures, failed);
  if (missingChunks > 0)
    console.log(`missing  ${count(missingImages, 'image')} of ${count(missingChunks, 'unfinished chunk')}`);
  for (const path of missingResults) console.log(`missing  ${path}`);
  if (missingResults.length > 0)
    console.log('\nTo compute them again, delete batches/ in the folder, and submit.');
}

function print(rows: readonly (readonly [string, string])[]): void {
  for (const [name, value] of rows) console.log(`  ${name.padEnd(9)}${value}`);
}

function describeRate({ rate, secondsLeft }: BatchStatus): string {
  if (rate === null) return secondsLeft === 0 ? 'all done' : 'not known yet';
  return `${rate.toFixed(1)} images/s${secondsLeft === null || secondsLeft === 0 ? '' : `, ${describeTime(secondsLeft)} left`}`;
}

/** The status again and again: a bar on a terminal, else a line each time. */
export class BatchWatch {
  readonly #json: boolean;
  #bar: SingleBar | null = null;

  constructor(json: boolean) {
    this.#json = json;
  }

  show(status: BatchStatus): void {
    if (this.#json) {
      console.log(JSON.stringify(status));
      return;
    }
    const total = status.batches.reduce((sum, { images }) => sum + images.total, 0);
    const done = status.batches.reduce((sum, { images }) => sum + images.done, runningImages(status));
    const failed = status.batches.reduce((sum, { images }) => sum + images.failed, 0);
    const facts = `${describeRate(status)}, ${failed} failed, ${count(status.workers, 'worker')}`;
    if (!process.stderr.isTTY) {
      console.log(`${done} of ${total} images, ${facts}`);
      return;
    }
    if (this.#bar === null) {
      this.#bar = progressBar('{bar} {value}/{total} images, {facts}');
      this.#bar.start(total, done, { facts });
    }
    this.#bar.setTotal(total);
    this.#bar.update(done, { facts });
  }

  stop(): void {
    this.#bar?.stop();
  }
}

function runningImages({ running }: BatchStatus): number {
  return running.reduce((total, { done }) => total + done, 0);
}
