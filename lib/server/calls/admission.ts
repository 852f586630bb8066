import { GradCamError } from '../../errors/errors.js';

/** What one accepted request holds of the server's room; given back once, with `leave()`. */
export interface Ticket {
  /**
   * Counts the maps of the request (of a prediction its images) once they are known; it was counted as one before.
   * @throws {GradCamError} `ERR_TOO_LARGE`, `ERR_BUSY`
   */
  setMaps(count: number): void;
  /** Counts the bytes of the body once they are known. */
  setBytes(count: number): void;
  /**
   * Sets memory aside beside that of the body.
   * @param what - what takes it, for the message: "400 maps of 224 x 224"
   * @throws {GradCamError} `ERR_TOO_LARGE` beyond what one request may take, `ERR_BUSY` beyond what all may
   */
  reserve(bytes: number, what: string): void;
  /** Keeps the place, beside whoever has the ticket, until the returned function is called. */
  stay(): () => void;
  leave(): void;
}

export interface AdmissionLimits {
  readonly maxPending: number;
  readonly maxPendingBytes: number;
  readonly maxWorkBytes: number;
}

const mebibytes = (bytes: number): string => `${Math.ceil(bytes / 1024 ** 2)} MiB`;

/** A request that asks for more than one may: it is not done, whatever else the server does. */
function tooLarge(message: string): GradCamError {
  return Object.assign(new GradCamError('ERR_TOO_LARGE', message), { statusCode: 413 });
}

/**
 * The bounded queue: how many maps may be on their way through the server at once, and how many bytes. What does not fit is
 * refused before its body is read, so that refusing stays cheap under any load, and what only the body tells before
 * anything is computed.
 */
export class AdmissionGate {
  readonly #maxPending: number;
  readonly #maxBytes: number;
  readonly #maxWorkBytes: number;
  #maps = 0;
  /** Called with the maps on their way when they have changed. */
  onChange: (maps: number) => void = () => {};
  #bytes = 0;
  /** Maps that left, and the time in which they did: halved now and then, so that the recent weighs most. */
  #left = 0;
  #since = performance.now();
  refused = 0;

  constructor({ maxPending, maxPendingBytes, maxWorkBytes }: AdmissionLimits) {
    this.#maxPending = maxPending;
    this.#maxBytes = maxPendingBytes;
    this.#maxWorkBytes = maxWorkBytes;
  }

  /** Maps on their way, from the first byte of the request to the last of the answer. */
  get pending(): number {
    return this.#maps;
  }

  get pendingBytes(): number {
    return this.#bytes;
  }

  /**
   * @param bytes - what the body will take at most
   * @throws {GradCamError} `ERR_BUSY`
   */
  enter(bytes: number): Ticket {
    if (this.#maps >= this.#maxPending) throw this.#busy(`${this.#maps} maps are on their way already`);
    this.#checkMemory(bytes);
    if (this.#maps === 0) this.#since = performance.now();
    this.#maps++;
    this.#bytes += bytes;
    this.onChange(this.#maps);
    let maps = 1;
    let held = bytes;
    let inside = true;
    let holders = 1;
    const letGo = () => {
      if (--holders > 0) return;
      inside = false;
      this.#maps -= maps;
      this.#bytes -= held;
      this.#left += maps;
      this.onChange(this.#maps);
    };
    return {
      setMaps: (count) => {
        if (!inside) return;
        if (count > this.#maxPending) {
          throw tooLarge(
            `The request asks for ${count} maps or predictions, but at most ${this.#maxPending} may be on their way. Ask for them in parts.`,
          );
        }
        const others = this.#maps - maps;
        if (others + count > this.#maxPending && others > 0)
          throw this.#busy(`${others} maps are on their way already, and ${count} more would be too many`);
        this.#maps = others + count;
        maps = count;
        this.onChange(this.#maps);
      },
      reserve: (more, what) => {
        if (!inside) return;
        const work = held - bytes + more;
        if (work > this.#maxWorkBytes) {
          throw tooLarge(
            `${what} would take the request to ${mebibytes(work)} of memory, but one may take ${mebibytes(this.#maxWorkBytes)}. Ask for less at once.`,
          );
        }
        this.#checkMemory(more, this.#maps > maps);
        this.#bytes += more;
        held += more;
      },
      setBytes: (count) => {
        if (!inside) return;
        const more = count - bytes;
        this.#checkMemory(more, this.#maps > maps);
        this.#bytes += more;
        held += more;
        bytes = count;
      },
      stay: () => {
        holders++;
        return once(letGo);
      },
      leave: once(letGo),
    };
  }

  /** Whoever is alone gets what is allowed to one. */
  #checkMemory(more: number, hasOthers: boolean = this.#maps > 0): void {
    if (this.#bytes + more > this.#maxBytes && hasOthers)
      throw this.#busy('the requests on their way fill the memory that is set aside for them');
  }

  /** Whole seconds after which there should be room again, from how fast maps left lately. */
  get retryAfter(): number {
    const seconds = (performance.now() - this.#since) / 1000;
    if (this.#left === 0 || seconds <= 0) return 1;
    const perSecond = this.#left / seconds;
    if (seconds > 10) {
      this.#left /= 2;
      this.#since += (seconds / 2) * 1000;
    }
    return Math.min(60, Math.max(1, Math.ceil(this.#maps / 2 / perSecond)));
  }

  #busy(reason: string): GradCamError {
    this.refused++;
    return new GradCamError('ERR_BUSY', `The server is busy: ${reason}. Try again later.`);
  }
}

function once(call: () => void): () => void {
  let called = false;
  return () => {
    if (!called) call();
    called = true;
  };
}
