import type { ModelOutput } from '../model/output.js';
import { Tensor } from '../tensor/tensor.js';
import { keepOutputs, type OutputsAlone, outputParts } from './output-parts.js';
import type { WaitingItem } from './waiting-images.js';

type Call = Pick<WaitingItem, 'inputs' | 'images' | 'compatibility'>;

const mostRemembered = 64;

/**
 * @internal Which calls can share a batch, and what of its outputs is whose. The first axis of a further input need not be the
 * images: of a CLIP it is the prompts, and those of two calls in one batch would make twice as many classes. So of a model with
 * several inputs the first call runs alone; of one that gives more than a tensor each call of the first batch does.
 */
export class SharedBatches {
  /** By compatibility what one call gave alone; null where calls must not share a batch. */
  readonly #alone = new Map<string, OutputsAlone | null>();

  mayShare({ inputs, images, compatibility }: Call): boolean {
    const alone = this.#alone.get(compatibility);
    if (inputs.length === 1) return alone !== null;
    return inputs.every(({ shape }) => shape[0] === images) && alone != null;
  }

  /** What is known of such calls; another value once more is. */
  known({ compatibility }: Call): OutputsAlone | null | undefined {
    return this.#alone.get(compatibility);
  }

  /** Remembers what a call alone gave, where that is needed. */
  learn({ inputs, images, compatibility }: Call, outputs: ModelOutput): void {
    if (inputs.length === 1 && outputs instanceof Tensor) return;
    const known = this.#alone.get(compatibility);
    if (known === null || (known !== undefined && known.images <= images)) return;
    this.#remember(compatibility, keepOutputs(outputs, images));
  }

  /** Of each call of a batch its outputs; null where they cannot be told apart. */
  partsOf(items: readonly Call[], outputs: ModelOutput): ModelOutput[] | null {
    const [{ compatibility }] = items as [Call];
    const counts = items.map(({ images }) => images);
    return outputParts(outputs, counts, this.#alone.get(compatibility) ?? undefined);
  }

  /** A batch gave other outputs than its calls alone, or failed where they did not. */
  forbid({ compatibility }: Call): void {
    this.#remember(compatibility, null);
  }

  #remember(compatibility: string, alone: OutputsAlone | null): void {
    this.#alone.delete(compatibility);
    this.#alone.set(compatibility, alone);
    const [oldest] = this.#alone.keys();
    if (this.#alone.size > mostRemembered && oldest !== undefined) this.#alone.delete(oldest);
  }
}
