import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** What LibTorch and its oneDNN may use of the processor, as their environment says it. */
const instructionSets = {
  native: {},
  avx2: { ONEDNN_MAX_CPU_ISA: 'AVX2', ATEN_CPU_CAPABILITY: 'avx2' },
};
export const isas = Object.keys(instructionSets);

/** A long-lived process that answers one JSON line with one. It is idle while nobody asks. */
export class Side {
  #process;
  #lines;
  #exited;

  constructor(command, args, environment) {
    this.#process = spawn(command, args, {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, ...environment },
    });
    // Listened for from the start: a process that ended before end() was called never says so again.
    this.#exited = new Promise((resolve) => {
      this.#process.once('exit', resolve);
      this.#process.once('error', resolve);
    });
    // A driver that is stopped must not leave one behind that computes: the next run would share the cores with it.
    const kill = () => this.kill();
    process.once('exit', kill);
    this.#exited.then(() => process.off('exit', kill));
    this.#process.stdin.on('error', () => {}); // a process that died: ask() tells, as its answers end
    this.#lines = createInterface({ input: this.#process.stdout })[Symbol.asyncIterator]();
  }

  static python(options) {
    return new Side(options.python, [file('python_side.py'), String(options.threads)], environment(options));
  }

  static node(options) {
    return new Side(process.execPath, ['--expose-gc', file('node_side.mjs')], environment(options));
  }

  /** ONNX Runtime or OpenVINO. */
  static prediction(name, options) {
    const command = [file('prediction_side.py'), name, String(options.threads)];
    return new Side(options.python, command, environment(options));
  }

  /** True once the process was found to have ended. */
  ended = false;

  /** The answer; a process that takes more than `limit` milliseconds is killed. */
  async ask(name, command = {}, limit = null) {
    this.#process.stdin.write(`${JSON.stringify({ do: name, ...command })}\n`);
    const timer = limit === null ? null : setTimeout(() => this.kill(), limit);
    const { value, done } = await this.#lines.next();
    clearTimeout(timer);
    if (done) {
      this.ended = true;
      throw new Error(
        this.#process.killed
          ? `It was asked to ${name}, and killed after ${(limit / 1000).toFixed(0)} s.`
          : `The process ended while it was asked to ${name}.`,
      );
    }
    const answer = JSON.parse(value);
    if (answer.error) throw new Error(`${name} ${JSON.stringify(command)}: ${answer.error}`);
    return answer;
  }

  kill() {
    this.#process.kill('SIGKILL');
  }

  async end() {
    this.#process.stdin.end();
    await this.#exited;
  }
}

function file(name) {
  return fileURLToPath(new URL(name, import.meta.url));
}

function environment({ threads, isa = 'native' }) {
  return { OMP_NUM_THREADS: String(threads), ...instructionSets[isa] };
}
