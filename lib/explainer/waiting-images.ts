import type { NativeTarget } from '../addon/addon.js';
import type { ExplainArguments } from '../cam/explain-arguments.js';
import type { Explanation } from '../cam/explanation.js';
import type { Tensor } from '../tensor/tensor.js';

/** @internal One call that waits: its images and how to answer it. */
export interface WaitingItem {
  readonly inputs: readonly Tensor[];
  /** Images in it, usually 1. */
  readonly images: number;
  /** One list for each image. */
  readonly targets: readonly NativeTarget[][];
  /** What all images of a batch must agree on. */
  readonly how: Pick<ExplainArguments, 'modelArguments' | 'upsample' | 'augmentations' | 'eigenSmooth'>;
  /** Items with equal text can share a batch. */
  readonly compatibility: string;
  /** When it came, in performance.now()'s milliseconds. */
  readonly since: number;
  resolve: (explanation: Explanation) => void;
  reject: (reason: unknown) => void;
  aborted: boolean;
  onAborted: (() => void) | null;
}

/** @internal */
export function compatibilityOf(
  inputs: readonly Tensor[],
  { modelArguments, ...how }: WaitingItem['how'],
): string {
  return `${JSON.stringify(how)} ${modelArguments.key} ${inputs.map(({ shape, dtype }) => `${dtype} ${shape.slice(1).join('x')}`).join(', ')}`;
}

/** @internal What waits, in the order it came. */
export class WaitingImages {
  #items: WaitingItem[] = [];
  #images = 0;

  get images(): number {
    return this.#images;
  }

  /** The oldest. */
  get first(): WaitingItem | undefined {
    return this.#items[0];
  }

  /** When the oldest came. */
  get oldest(): number {
    return this.#items[0]?.since ?? Number.POSITIVE_INFINITY;
  }

  add(item: WaitingItem): void {
    this.#items.push(item);
    this.#images += item.images;
  }

  remove(item: WaitingItem): void {
    const position = this.#items.indexOf(item);
    if (position < 0) return;
    this.#items.splice(position, 1);
    this.#images -= item.images;
  }

  /** The oldest, with as many more that can share its batch as fit; at least one, however large. */
  takeBatch(maxImages: number): WaitingItem[] {
    const batch: WaitingItem[] = [];
    const left: WaitingItem[] = [];
    let images = 0;
    for (const item of this.#items) {
      const fits =
        batch.length === 0 ||
        (item.compatibility === batch[0]?.compatibility && images + item.images <= maxImages);
      if (!fits) {
        left.push(item);
        continue;
      }
      batch.push(item);
      images += item.images;
    }
    this.#items = left;
    this.#images -= images;
    return batch;
  }
}
