import { ExplainSession, type SessionOptions } from '../explaining/explain-session.js';
import type { BatchSpecification } from '../specification/specification.js';

/** A session whose model is loaded when the first chunk needs it: where all is done, none is. */
export class SessionWhenNeeded implements AsyncDisposable {
  readonly #specification: BatchSpecification;
  readonly #options: SessionOptions;
  #opened: Promise<ExplainSession> | undefined;

  constructor(specification: BatchSpecification, options: SessionOptions) {
    this.#specification = specification;
    this.#options = options;
  }

  open(): Promise<ExplainSession> {
    this.#opened ??= ExplainSession.open(this.#specification, this.#options);
    return this.#opened;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await (await this.#opened?.catch(() => null))?.[Symbol.asyncDispose]();
  }
}
