import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Tells how many files of all are compiled: one line that is rewritten on a terminal, a line every few seconds elsewhere. */
export class BuildProgress {
  #buildFolder;
  #stream;
  #now;
  #compiled = 0;
  #rest = '';
  #started;
  #lastLine;

  /**
   * @param {string} buildFolder CMake's, where compile_commands.json tells how many files there are
   * @param {{ stream?: NodeJS.WriteStream, now?: () => number }} [how]
   */
  constructor(buildFolder, { stream = process.stderr, now = Date.now } = {}) {
    this.#buildFolder = buildFolder;
    this.#stream = stream;
    this.#now = now;
    this.#started = now();
    this.#lastLine = this.#started;
  }

  /** @param {string} text a piece of what Ninja or make print */
  read(text) {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    const compiled = lines.filter((line) => line.includes('Building CXX object')).length;
    if (compiled === 0) return;
    this.#compiled += compiled;
    const seconds = Math.round((this.#now() - this.#started) / 1000);
    const line = `compiled ${this.#compiled} of ${this.#total()} files, ${seconds} s`;
    if (this.#stream.isTTY) {
      this.#stream.write(`\r\u001B[K${line}`);
    } else if (this.#now() - this.#lastLine >= 5000) {
      this.#lastLine = this.#now();
      this.#stream.write(`${line}\n`);
    }
  }

  /** Leaves the terminal's line to what follows. */
  end() {
    if (this.#stream.isTTY && this.#compiled > 0) this.#stream.write('\r\u001B[K');
  }

  #total() {
    const file = join(this.#buildFolder, 'compile_commands.json');
    return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).length : '?';
  }
}
