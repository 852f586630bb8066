// The Python process that makes the file of one architecture and knows what pytorch-grad-cam makes of it.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../..', import.meta.url));

export class TruthProcess {
  #process;
  #lines;
  #said = '';

  /** Without a name it prints the names that there are. */
  constructor(python, ...args) {
    const env = { OMP_NUM_THREADS: '1', ...process.env, PYTHONDONTWRITEBYTECODE: '1' };
    this.#process = spawn(python, ['-m', 'tools.compare.models.truth', ...args], {
      cwd: root,
      env,
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.#process.on('error', () => {}); // the end of its lines tells
    this.#process.stdin.on('error', () => {});
    this.#process.stderr.on('data', (chunk) => {
      this.#said = (this.#said + chunk).slice(-4000);
    });
    this.#lines = createInterface({ input: this.#process.stdout })[Symbol.asyncIterator]();
  }

  async next() {
    const { value, done } = await this.#lines.next();
    if (done)
      throw new Error(
        `Python ended. Does it have what tools/requirements.txt names?\n${this.#said.trim().split('\n').at(-1)}`,
      );
    return JSON.parse(value);
  }

  async ask(layer) {
    this.#process.stdin.write(`${layer}\n`);
    return await this.next();
  }

  stop() {
    this.#process.stdin.end();
    this.#process.kill();
  }
}
