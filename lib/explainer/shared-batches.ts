import type { ModelOutput } from '../model/output.js';
import { Tensor } from '../tensor/tensor.js';
import type { WaitingItem } from './waiting-images.js';

const mostRemembered = 64;

/**
 * @internal Which calls of a model with several inputs can share a batch. The first axis of a further input need not be the
 * images: of a CLIP it is the prompts, and those of two calls in one batch would make twice as many classes. So the first
 * call runs alone, and the outputs of a batch must have rows as its.
 */
export class SharedBatches {
  /** By compatibility the shapes of one call's rows; null where calls must not share a batch. */
  readonly #rows = new Map<string, string | null>();

  mayShare({ inputs, images, compatibility }: WaitingItem): boolean {
    if (inputs.length === 1) return true;
    return inputs.every(({ shape }) => shape[0] === images) && this.#rows.get(compatibility) != null;
  }

  /** Whether the outputs of a batch have the rows of its calls; what a call alone gave is remembered. */
  areRowsOf(items: readonly WaitingItem[], outputs: ModelOutput): boolean {
    const [{ inputs, compatibility }] = items as [WaitingItem];
    if (inputs.length === 1) return true;
    const rows = rowShapes(outputs);
    if (items.length > 1) return this.#rows.get(compatibility) === rows;
    if (!this.#rows.has(compatibility)) this.#remember(compatibility, rows);
    return true;
  }

  /** A batch failed, or gave other rows than a call alone. */
  forbid({ inputs, compatibility }: WaitingItem): void {
    if (inputs.length > 1) this.#remember(compatibility, null);
  }

  #remember(compatibility: string, rows: string | null): void {
    this.#rows.delete(compatibility);
    this.#rows.set(compatibility, rows);
    const [oldest] = this.#rows.keys();
    if (this.#rows.size > mostRemembered && oldest !== undefined) this.#rows.delete(oldest);
  }
}

function rowShapes(output: ModelOutput): string {
  if (output instanceof Tensor) return output.shape.slice(1).join('x');
  if (typeof output !== 'object' || output === null) return typeof output;
  return `(${Object.values(output).map(rowShapes).join(', ')})`;
}
