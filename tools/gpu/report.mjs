import { appendFileSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** report.json and log.txt of a run, on disk after each change: what is there survives a kill. */
export class Report {
  #file;
  #saved = 0;
  logFile;

  /** @param {string} folder */
  constructor(folder) {
    mkdirSync(folder, { recursive: true });
    this.#file = join(folder, 'report.json');
    this.logFile = join(folder, 'log.txt');
    this.content = { finished: false, passed: null, started: new Date().toISOString(), parts: {} };
  }

  /** What an earlier run left in the folder, or null. */
  earlier() {
    if (!existsSync(this.#file)) return null;
    try {
      return JSON.parse(readFileSync(this.#file, 'utf8'));
    } catch {
      return null;
    }
  }

  log(line) {
    console.error(line);
    appendFileSync(this.logFile, `${line}\n`);
  }

  save() {
    writeFileSync(`${this.#file}.new`, `${JSON.stringify(this.content, null, 2)}\n`);
    renameSync(`${this.#file}.new`, this.#file);
    this.#saved = Date.now();
  }

  /** For what changes many times a second. */
  saveSoon() {
    if (Date.now() - this.#saved > 1000) this.save();
  }

  /**
   * Does a part and records how it went. `work` fills the record as it goes, and throws what fails the part.
   * @param {string} name
   * @param {(record: object) => Promise<void> | void} work
   */
  async part(name, work) {
    const record = { status: 'running', seconds: 0 };
    this.content.parts[name] = record;
    this.save();
    this.log(`--- ${name}`);
    const started = Date.now();
    try {
      await work(record);
      record.status = 'passed';
    } catch (error) {
      record.status = error.status ?? 'failed';
      record.message = error.message;
      this.log(`${name}: ${record.status}: ${error.message}`);
    }
    record.seconds = (Date.now() - started) / 1000;
    this.save();
    return record.status === 'passed';
  }

  /** @returns {boolean} whether all passed */
  finish() {
    const states = Object.values(this.content.parts).map(({ status }) => status);
    this.content.passed = states.every((status) => status === 'passed');
    this.content.finished = !states.includes('interrupted');
    this.save();
    return this.content.passed;
  }
}
