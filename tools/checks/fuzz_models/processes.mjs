// The two processes of the fuzzer: Python, which writes networks and what is right for them, and Node, which explains them.
import { fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../..', import.meta.url));

const longest = 600_000; // milliseconds a network may take: some hundred where nothing else runs

/** Python's compiled classes stay for good: after so many networks a new process is cheaper. */
const networksOfProcess = 500;

export class Generator {
  #python;
  #folder;
  #process;
  #lines;
  #made = 0;

  constructor(python, folder) {
    this.#python = python;
    this.#folder = folder;
  }

  async make(request) {
    if (this.#process && this.#made++ >= networksOfProcess) this.stop();
    if (!this.#process) this.#start();
    this.#process.stdin.write(`${JSON.stringify(request)}\n`);
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`${this.#python} ended. Does it have torch? tools/requirements.txt`);
    return JSON.parse(value);
  }

  #start() {
    const env = { ...process.env, OMP_NUM_THREADS: '1', PYTHONDONTWRITEBYTECODE: '1' };
    this.#process = spawn(this.#python, ['-m', 'tools.checks.fuzz_models.generate', this.#folder], {
      cwd: root,
      env,
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#process.on('error', () => {}); // the end of its lines tells
    this.#process.stdin.on('error', () => {});
    this.#lines = createInterface({ input: this.#process.stdout })[Symbol.asyncIterator]();
    this.#made = 0;
  }

  stop() {
    this.#process?.stdin.end();
    this.#process = undefined;
  }
}

const failed = (kind, text) => ({
  verdict: { faults: [{ kind, text }], refusals: [], mapsCompared: 0, mapsSkipped: 0 },
});

export class Explaining {
  #child;

  async #start() {
    this.#child = fork(fileURLToPath(new URL('child.mjs', import.meta.url)), [], {
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
      env: { ...process.env, OMP_NUM_THREADS: '1', OMP_WAIT_POLICY: 'PASSIVE' },
    });
    const exited = once(this.#child, 'exit').then(() => null);
    if (!(await Promise.race([once(this.#child, 'message'), exited])))
      throw new Error('The child did not start. Is everything built? npm run build');
  }

  /** What became of one network; of a crash and a hang, too. */
  async check(message) {
    if (!this.#child) await this.#start();
    const child = this.#child;
    return await new Promise((resolve) => {
      const finish = (result, ended) => {
        clearTimeout(timer);
        child.off('message', onMessage);
        child.off('exit', onExit);
        if (ended) {
          child.kill('SIGKILL');
          this.#child = undefined;
        }
        resolve(result);
      };
      const onMessage = (result) => finish(result, false);
      const onExit = (code, signal) =>
        finish(failed('crash', `crash: ${signal ?? `exit code ${code}`}`), true);
      const timer = setTimeout(() => finish(failed('hang', 'hang'), true), longest);
      child.on('message', onMessage);
      child.once('exit', onExit);
      child.send(message);
    });
  }

  stop() {
    this.#child?.kill();
  }
}
