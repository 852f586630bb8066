import { GradCamError } from '../../errors/errors.js';

/** What one accepted request holds of the server's room; given back once, with `leave()`. */
export interface Ticket {
  /** Counts the images of the request once they are known; it was counted as one before. */
  setImages(count: number): void;
  /** Counts the bytes of the body once they are known. */
  setBytes(count: number): void;
  leave(): void;
}

/**
 * The bounded queue: how many images may be on their way through the server at once, and how many bytes of bodies. What
 * does not fit is refused before its body is read, so that refusing stays cheap under any load.
 */
export class AdmissionGate {
  readonly #maxPending: number;
  readonly #maxBytes: number;
  #images = 0;
  #bytes = 0;
  /** Images that left, and the time in which they did: halved now and then, so that the recent weighs most. */
  #left = 0;
  #since = performance.now();
  refused = 0;

  constructor({ maxPending, maxPendingBytes }: { maxPending: number; maxPendingBytes: number }) {
    this.#maxPending = maxPending;
    this.#maxBytes = maxPendingBytes;
  }

  /** Images on their way, from the first byte of the request to the last of the answer. */
  get pending(): number {
    return this.#images;
  }

  get pendingBytes(): number {
    return this.#bytes;
  }

  /**
   * @param bytes - what the body will take at most
   * @throws {GradCamError} `ERR_BUSY`
   */
  enter(bytes: number): Ticket {
    if (this.#images >= this.#maxPending) throw this.#busy(`${this.#images} images are on their way already`);
    if (this.#bytes + bytes > this.#maxBytes && this.#images > 0) throw this.#busyWithBytes();
    if (this.#images === 0) this.#since = performance.now();
    this.#images++;
    this.#bytes += bytes;
    let images = 1;
    let inside = true;
    return {
      setImages: (count) => {
        if (!inside) return;
        if (count > this.#maxPending) {
          const message = `The request has ${count} images, but at most ${this.#maxPending} may be on their way. Send them in parts.`;
          throw Object.assign(new GradCamError('ERR_INVALID_REQUEST', message), { statusCode: 413 });
        }
        const others = this.#images - images;
        if (others + count > this.#maxPending && others > 0)
          throw this.#busy(`${others} images are on their way already, and ${count} more would be too many`);
        this.#images = others + count;
        images = count;
      },
      setBytes: (count) => {
        if (!inside) return;
        const others = this.#bytes - bytes;
        if (others + count > this.#maxBytes && this.#images > images) throw this.#busyWithBytes();
        this.#bytes = others + count;
        bytes = count;
      },
      leave: () => {
        if (!inside) return;
        inside = false;
        this.#images -= images;
        this.#bytes -= bytes;
        this.#left += images;
      },
    };
  }

  /** Whole seconds after which there should be room again, from how fast images left lately. */
  get retryAfter(): number {
    const seconds = (performance.now() - this.#since) / 1000;
    if (this.#left === 0 || seconds <= 0) return 1;
    const perSecond = this.#left / seconds;
    if (seconds > 10) {
      this.#left /= 2;
      this.#since += (seconds / 2) * 1000;
    }
    return Math.min(60, Math.max(1, Math.ceil(this.#images / 2 / perSecond)));
  }

  #busyWithBytes(): GradCamError {
    return this.#busy('the requests that wait fill the memory that is set aside for them');
  }

  #busy(reason: string): GradCamError {
    this.refused++;
    return new GradCamError('ERR_BUSY', `The server is busy: ${reason}. Try again later.`);
  }
}
