import { ServerInterceptingCall } from '@grpc/grpc-js';

type Listener = Parameters<ServerInterceptingCall['start']>[0];

/**
 * A call whose messages can be read one by one, each when the one before is under way: a stream of grpc-js reads ahead
 * sixteen, which may be large.
 */
export class PacedCall extends ServerInterceptingCall {
  #listener: Listener | undefined;
  #isPaced = false;
  #isStarted = false;
  #isCutOff = false;
  #reading = false;
  #wanted = false;
  #ended = false;
  /** A message has come and is not under way yet. */
  #holding = false;

  override start(listener: Listener): void {
    this.#listener = listener;
    super.start({
      onReceiveMetadata: (metadata) => {
        listener.onReceiveMetadata(metadata);
        this.#isStarted = true;
        if (this.#ended) listener.onReceiveHalfClose();
      },
      onReceiveMessage: (message) => {
        this.#reading = false;
        if (this.#ended) return;
        this.#holding = this.#isPaced;
        listener.onReceiveMessage(message);
      },
      onReceiveHalfClose: () => {
        if (this.#ended) return;
        this.#ended = true;
        listener.onReceiveHalfClose();
      },
      onCancel: () => listener.onCancel(),
    });
  }

  pace(): void {
    this.#isPaced = true;
  }

  get isCutOff(): boolean {
    return this.#isCutOff;
  }

  override startRead(): void {
    this.#wanted = true;
    this.#readIfMay();
  }

  /** The message that came is under way: the next may be read. */
  next(): void {
    this.#holding = false;
    this.#readIfMay();
  }

  #readIfMay(): void {
    if (!this.#wanted || this.#holding || this.#reading || this.#ended) return;
    this.#wanted = false;
    this.#reading = true;
    super.startRead();
  }

  /** Takes no more messages, as if the client had ended them. */
  cutOff(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#isCutOff = true;
    if (this.#isStarted) this.#listener?.onReceiveHalfClose();
  }
}
