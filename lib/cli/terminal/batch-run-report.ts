import type { SingleBar } from 'cli-progress';
import type { BatchRunReport, RunEvent } from '../../batch/index.js';
import { FoundPictures } from './batch-report.js';
import { count, describeChunk, describeFailure, describeTime, lineOf, printFailures } from './batch-words.js';
import { printJson } from './each-image.js';
import { progressBar } from './progress.js';

/**
 * Tells what a run does: on a terminal a bar for all pictures, else a line a chunk; what fails always has a line.
 */
export class RunReporter {
  readonly #json: boolean;
  readonly #found = new FoundPictures();
  readonly #running = new Map<string, number>();
  #bar: SingleBar | null = null;
  #startedAt = 0;
  #total: number | null = null;
  #doneBefore = 0;
  /** Images of chunks that this run finished. */
  #done = 0;
  #failed = 0;

  constructor(json: boolean) {
    this.#json = json;
  }

  tell(event: RunEvent): void {
    switch (event.kind) {
      case 'found':
        this.#found.update(event.images);
        return;
      case 'started':
        this.#start(event);
        return;
      case 'progress':
        this.#running.set(event.chunk, event.done);
        this.#drawBar();
        return;
      case 'finished':
        this.#running.delete(event.chunk);
        this.#done += event.summary.images;
        this.#failed += event.summary.failed;
        if (!process.stderr.isTTY && !this.#json)
          console.log(lineOf(event.chunk, describeChunk(event.summary)));
        this.#drawBar();
        return;
      case 'failed':
        this.#running.delete(event.chunk);
        this.stop();
        console.error(lineOf(event.chunk, describeFailure(event)));
    }
  }

  #start({ batch, images, imagesDone }: Extract<RunEvent, { kind: 'started' }>): void {
    this.#found.stop();
    this.#total = images;
    this.#doneBefore = imagesDone;
    this.#startedAt = performance.now();
    if (this.#json) return;
    const before = imagesDone > 0 ? `, of which ${imagesDone} are done` : '';
    console.log(`Batch ${batch}: ${count(images, 'image')}${before}.`);
  }

  #drawBar(): void {
    if (!process.stderr.isTTY || this.#total === null) return;
    const now = this.#doneNow();
    const rate = now / ((performance.now() - this.#startedAt) / 1000);
    const left = describeTime((this.#total - this.#doneBefore - now) / rate);
    const facts = `${rate.toFixed(1)} images/s, ${left} left, ${this.#failed} failed`;
    if (this.#bar === null) {
      this.#bar = progressBar('{bar} {value}/{total} images, {facts}');
      this.#bar.start(this.#total, this.#doneBefore + now, { facts });
    }
    this.#bar.update(this.#doneBefore + now, { facts });
  }

  /** Images that this run did, also of chunks that are not finished. */
  #doneNow(): number {
    return [...this.#running.values()].reduce((sum, done) => sum + done, this.#done);
  }

  /** Tells what it came to, and how fast. */
  end(report: BatchRunReport): void {
    this.stop();
    this.#total = null; // It came to its end.
    if (this.#json) {
      printJson(report);
      return;
    }
    printRun(report);
    if (this.#done === 0) return;
    const seconds = (performance.now() - this.#startedAt) / 1000;
    console.log(`time    ${describeTime(seconds)}, ${(this.#done / seconds).toFixed(1)} images/s`);
  }

  /** The run ended before its end. */
  interrupted(): void {
    this.stop();
    if (this.#total === null || this.#json) return;
    const done = this.#doneBefore + this.#doneNow();
    if (done < this.#total)
      console.log(`${done} of ${count(this.#total, 'image')} are done. The same command goes on from there.`);
  }

  stop(): void {
    this.#found.stop();
    this.#bar?.stop();
    this.#bar = null;
  }
}

function printRun(report: BatchRunReport): void {
  const { manifest, images, computed, reused, duplicates, failed, failures, failedChunks } = report;
  const undone = failedChunks.reduce((sum, chunk) => sum + chunk.images, 0);
  console.log(`${manifest}\n`);
  console.log(`images  ${images}: ${computed} explained, ${reused} there already, ${duplicates} repeated`);
  if (failed > 0) console.log(`        ${failed} could not be explained`);
  if (undone > 0) {
    const chunks = count(failedChunks.length, 'chunk');
    console.log(`        ${undone} of ${chunks} are not done; the same command tries them again`);
  }
  printFailures(failures, failed);
}
