import { Side } from '../side.mjs';

/** What an answer may take after the run's time is used up, in milliseconds: a cell that has begun is ended. */
const grace = 20_000;

/** The Python process and ours, of all models, started when first needed and again after they ended. */
export class Sides {
  #options;
  #folder;
  #clock;
  #processes = { python: null, node: null };
  #prepared = { python: null, node: null };
  #failures = new Map();
  #files;

  constructor({ options, folder, clock }) {
    this.#options = options;
    this.#folder = folder;
    this.#clock = clock;
  }

  async ask(kind, name, command = {}, limit = Number.MAX_SAFE_INTEGER) {
    const side = this.#started(kind);
    try {
      return await side.ask(name, command, Math.min(limit, Math.max(this.#clock.left(), 0) + grace));
    } finally {
      if (side.ended) this.#forget(kind);
    }
  }

  /** Both have the model as the setting wants it, or it is told why ours has not. */
  async prepare(model, setting) {
    await this.#preparePython(model, setting);
    return { nodeFailure: await this.#prepareNode(model, setting) };
  }

  async #preparePython({ name, layer, reshapeTransform }, { dtype, tf32, benchmark }) {
    const wanted = JSON.stringify([name, layer, dtype, tf32, benchmark]);
    if (this.#prepared.python === wanted) return;
    this.#prepared.python = null;
    this.#files = await this.ask('python', 'prepare', {
      name,
      layer,
      reshapeTransform,
      folder: this.#folder,
      largest_batch: Math.max(...this.#options.batches),
      device: this.#options.device,
      dtype,
      tf32,
      benchmark,
    });
    this.#prepared.python = wanted;
  }

  // Where a process that had another model refuses this one, as options of the whole process may, a fresh one is asked.
  async #prepareNode(model, setting) {
    const wanted = JSON.stringify([model, setting]);
    if (this.#prepared.node === wanted) return null;
    if (this.#failures.has(wanted)) return this.#failures.get(wanted);
    const fresh = this.#processes.node === null;
    const command = this.nodePreparation(model, setting);
    this.#prepared.node = null;
    try {
      try {
        await this.ask('node', 'prepare', command);
      } catch (error) {
        if (fresh) throw error;
        await this.endOne('node');
        await this.ask('node', 'prepare', command);
      }
      this.#prepared.node = wanted;
      return null;
    } catch (error) {
      const why = error.message.replace(/^prepare \{.*\}: /, '');
      const failure = `loadModel(${JSON.stringify(command.load)}) failed: ${why}`;
      this.#failures.set(wanted, failure);
      return failure;
    }
  }

  /** What a process of ours is told so that it has the model that Python wrote last. */
  nodePreparation({ layer, reshapeTransform }, { load }) {
    const { threads, device } = this.#options;
    return { ...this.#files, layer, reshapeTransform, threads, load: { device, ...load } };
  }

  async end() {
    await Promise.all([this.endOne('python'), this.endOne('node')]);
  }

  /** Ends one process; it is started again when it is needed. */
  async endOne(kind) {
    const side = this.#processes[kind];
    this.#forget(kind);
    if (side) await endSoon(side);
  }

  #started(kind) {
    this.#processes[kind] ??= Side[kind](this.#options);
    return this.#processes[kind];
  }

  #forget(kind) {
    this.#processes[kind] = null;
    this.#prepared[kind] = null;
  }
}

/** Ends a process; one that does not go is killed. */
export async function endSoon(side) {
  const timer = setTimeout(() => side.kill(), 5000);
  await side.end();
  clearTimeout(timer);
}
