import { SingleBar } from 'cli-progress';
import { captionOf, nameOf, percent, type SuccessReport } from '../../cam/explanation-report.js';
import { spellLayer } from '../../model/target-layers.js';
import { reportError } from './exit-codes.js';

/** Up to this many images are told in full, more in a line each. */
const fullReports = 3;

/** A bar on standard error, gone when it stops. */
export function progressBar(format: string): SingleBar {
  const looks = { barsize: 30, hideCursor: true, clearOnComplete: true };
  return new SingleBar({ stream: process.stderr, format, ...looks });
}

/** Tells people how an explain of images goes: text on standard output, a bar for many images on standard error. */
export class ProgressReporter {
  readonly #bar: SingleBar | null;
  readonly #imageCount: number;
  readonly #json: boolean;
  readonly #write: (line: string) => void;
  #layerTold = false;
  #runs: SingleBar | null = null;

  /** @param told - where text goes; standard output may be the picture's */
  constructor(
    imageCount: number,
    { json, told = 'stdout' }: { readonly json: boolean; readonly told?: 'stdout' | 'stderr' },
  ) {
    this.#imageCount = imageCount;
    this.#json = json;
    this.#write = told === 'stdout' ? console.log : console.error;
    const showBar = imageCount > 1 && process.stderr.isTTY;
    this.#bar = showBar ? progressBar('{bar} {value}/{total}, {eta_formatted} left') : null;
    this.#bar?.start(imageCount, 0);
  }

  /** Of a method that runs the model many times for one image. */
  within(done: number, total: number): void {
    if (this.#bar || !process.stderr.isTTY) return;
    if (this.#runs === null) {
      this.#runs = progressBar('{bar} {value}/{total} runs of the model, {eta_formatted} left');
      this.#runs.start(total, done);
    }
    this.#runs.update(done);
  }

  /** One more is done, of which no more than some lines are told. */
  advance(...lines: readonly string[]): void {
    this.#endRuns();
    if (!this.#json && lines.length > 0) this.#print(lines);
    this.#bar?.increment();
  }

  succeeded(report: SuccessReport): void {
    this.#endRuns();
    if (!this.#json) this.#print(this.#linesOf(report));
    this.#bar?.increment();
  }

  failed(path: string, error: Error): void {
    this.#endRuns();
    this.#clearBar();
    reportError(
      Object.assign(error, {
        message: error.message.includes(path) ? error.message : `${path}: ${error.message}`,
      }),
    );
    this.#bar?.increment();
  }

  stop(): void {
    this.#endRuns();
    this.#bar?.stop();
  }

  #endRuns(): void {
    this.#runs?.stop();
    this.#runs = null;
  }

  #linesOf(report: SuccessReport): string[] {
    const lines: string[] = [];
    if (!this.#layerTold) {
      for (const { path, output, reason } of report.layers)
        lines.push(`Layer ${spellLayer(path, output)}${reason ? `: ${reason}` : ''}`);
      this.#layerTold = true;
    }
    const [best] = report.explained;
    if (this.#imageCount > fullReports) {
      const name = best ? captionOf(best) : '';
      lines.push(`${report.path}  ${name}  -> ${report.output}`);
      return lines;
    }
    lines.push('', report.path);
    for (const each of report.top) lines.push(`  ${percent(each.probability).padStart(6)}  ${nameOf(each)}`);
    for (const each of report.explained) {
      const empty = each.hasPositiveEvidence ? '' : ': nothing speaks for it, the map is empty';
      lines.push(`  explained: ${nameOf(each)}${empty}`);
    }
    if (report.note) lines.push(`  no probabilities: ${report.note}`);
    lines.push(`  written: ${report.output}`);
    return lines;
  }

  #print(lines: readonly string[]): void {
    this.#clearBar();
    for (const line of lines) this.#write(line);
  }

  /** So that a printed line does not end in the middle of the bar. */
  #clearBar(): void {
    if (this.#bar) process.stderr.write('\r\u001B[K');
  }
}
