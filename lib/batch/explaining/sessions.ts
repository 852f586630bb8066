import { readSpecification, specificationPath } from '../output/folder.js';
import { batchId } from '../specification/specification.js';
import { ExplainSession, type SessionOptions } from './explain-session.js';
import type { Roots } from './roots.js';

interface Opened {
  readonly key: string;
  readonly session: Promise<ExplainSession>;
  users: number;
}

/**
 * The sessions of a worker: chunks of one batch share one, so that a model is loaded once. One that no chunk uses is kept
 * until another batch comes.
 */
export class Sessions implements AsyncDisposable {
  readonly #options: SessionOptions;
  readonly #roots: Roots;
  readonly #opened = new Set<Opened>();

  constructor(options: SessionOptions, roots: Roots) {
    this.#options = options;
    this.#roots = roots;
  }

  /** Runs `work` with the session of a batch, of which `digest` is the whole hash. */
  async with<T>(folder: string, digest: string, work: (session: ExplainSession) => Promise<T>): Promise<T> {
    const key = `${folder}\0${digest}`;
    const opened = [...this.#opened].find((each) => each.key === key) ?? this.#open(key, folder, digest);
    opened.users++;
    try {
      return await work(await opened.session);
    } finally {
      opened.users--;
    }
  }

  #open(key: string, folder: string, digest: string): Opened {
    const freed = this.#close((each) => each.users === 0);
    const session = freed
      .then(() => this.#roots.admit(specificationPath(folder, batchId(digest))))
      .then(() => readSpecification(folder, digest))
      .then((specification) => ExplainSession.open(specification, this.#options, this.#roots));
    const opened = { key, session, users: 0 };
    this.#opened.add(opened);
    session.catch(() => this.#opened.delete(opened));
    return opened;
  }

  async #close(which: (opened: Opened) => boolean): Promise<void> {
    const closing = [...this.#opened].filter(which);
    for (const opened of closing) this.#opened.delete(opened);
    for (const { session } of closing) await (await session.catch(() => null))?.[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close(() => true);
  }
}
