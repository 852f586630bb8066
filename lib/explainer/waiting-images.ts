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

/** @internal What waits: of each kind that can share batches, in the order it came. */
export class WaitingImages {
  readonly #kinds = new Map<string, { readonly items: WaitingItem[]; images: number }>();
  #images = 0;

  get images(): number {
    return this.#images;
  }

  /** The oldest of each kind, the oldest of all first. */
  get oldest(): WaitingItem[] {
    const firsts = [...this.#kinds.values()].flatMap(({ items: [first] }) => first ?? []);
    return firsts.sort((a, b) => a.since - b.since);
  }

  /** How many images wait of an item's kind. */
  imagesLike({ compatibility }: WaitingItem): number {
    return this.#kinds.get(compatibility)?.images ?? 0;
  }

  add(item: WaitingItem): void {
    const kind = this.#kinds.get(item.compatibility) ?? { items: [], images: 0 };
    this.#kinds.set(item.compatibility, kind);
    kind.items.push(item);
    kind.images += item.images;
    this.#images += item.images;
  }

  remove(item: WaitingItem): void {
    const kind = this.#kinds.get(item.compatibility);
    const position = kind?.items.indexOf(item) ?? -1;
    if (kind === undefined || position < 0) return;
    kind.items.splice(position, 1);
    kind.images -= item.images;
    this.#images -= item.images;
    if (kind.items.length === 0) this.#kinds.delete(item.compatibility);
  }

  /** The oldest of a kind, with as many more that fit; at least one, however large. */
  takeBatch({ compatibility }: WaitingItem, maxImages: number): WaitingItem[] {
    const batch: WaitingItem[] = [];
    let images = 0;
    for (const item of this.#kinds.get(compatibility)?.items ?? []) {
      if (batch.length > 0 && images + item.images > maxImages) continue;
      batch.push(item);
      images += item.images;
      if (images >= maxImages) break;
    }
    for (const item of batch) this.remove(item);
    return batch;
  }
}
