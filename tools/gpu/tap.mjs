/** Reads AVA's TAP as it comes: how many tests passed, failed and were skipped, and what the failed ones say. */
export class TapReader {
  #rest = '';
  #failure = null;
  passed = 0;
  failed = 0;
  skipped = 0;
  /** @type {{ title: string, message: string }[]} */
  failures = [];
  /** @type {string[]} */
  skippedTitles = [];

  /** @param {string} text */
  read(text) {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) this.#readLine(line);
  }

  #readLine(line) {
    const [, result, title, skipped] = /^(ok|not ok) \d+ - (.*?)( # SKIP.*)?$/.exec(line) ?? [];
    if (result) {
      this.#failure = null;
      if (skipped !== undefined) {
        this.skipped++;
        this.skippedTitles.push(title);
      } else if (result === 'ok') this.passed++;
      else {
        this.failed++;
        this.#failure = { title, message: '' };
        this.failures.push(this.#failure);
      }
    } else if (this.#failure && /^ {2}/.test(line) && !/^ {2}(?:---|\.\.\.)$/.test(line)) {
      if (this.#failure.message.length < 4000) this.#failure.message += `${line.slice(4)}\n`;
    }
  }
}
