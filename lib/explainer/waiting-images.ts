import type { Tensor } from '../tensor/tensor.js';

/** @internal One call that waits: its images and how to answer it. */
export interface WaitingItem<How = unknown, Result = unknown> {
  readonly inputs: readonly Tensor[];
  /** Images in it, usually 1. */
  readonly images: number;
  /** What is to be done with its images. */
  readonly how: How;
  /** Items with equal text can share a batch. */
  readonly compatibility: string;
  /** When it came, in performance.now()'s milliseconds. */
  readonly since: number;
  resolve: (result: Result) => void;
  reject: (reason: unknown) => void;
  aborted: boolean;
  onAborted: (() => void) | null;
}

/** @internal The shapes and types that all inputs of a batch must agree on. */
export function shapesOf(inputs: readonly Tensor[]): string {
  return inputs.map(({ shape, dtype }) => `${dtype} ${shape.slice(1).join('x')}`).join(', ');
}

/** @internal Of each of the model's inputs the tensors that, one behind the other, make a batch of the calls. */
export function partsOf(items: readonly Pick<WaitingItem, 'inputs'>[]): Tensor[][] {
  const [first] = items;
  return (first?.inputs ?? []).map((_, position) => items.map(({ inputs }) => inputs[position] as Tensor));
}

/** @internal What waits: of each kind that can share batches, in the order it came. */
export class WaitingImages<Item extends Pick<WaitingItem, 'images' | 'compatibility' | 'since'>> {
  readonly #kinds = new Map<string, { readonly items: Item[]; images: number }>();
  #images = 0;

  get images(): number {
    return this.#images;
  }

  /** The oldest of each kind, the oldest of all first. */
  get oldest(): Item[] {
    const firsts = [...this.#kinds.values()].flatMap(({ items: [first] }) => first ?? []);
    return firsts.sort((a, b) => a.since - b.since);
  }

  /** How many images wait of an item's kind. */
  imagesLike({ compatibility }: Item): number {
    return this.#kinds.get(compatibility)?.images ?? 0;
  }

  add(item: Item): void {
    const kind = this.#kinds.get(item.compatibility) ?? { items: [], images: 0 };
    this.#kinds.set(item.compatibility, kind);
    kind.items.push(item);
    kind.images += item.images;
    this.#images += item.images;
  }

  remove(item: Item): void {
    const kind = this.#kinds.get(item.compatibility);
    const position = kind?.items.indexOf(item) ?? -1;
    if (kind === undefined || position < 0) return;
    kind.items.splice(position, 1);
    kind.images -= item.images;
    this.#images -= item.images;
    if (kind.items.length === 0) this.#kinds.delete(item.compatibility);
  }

  /** The oldest of a kind, with as many more that fit; at least one, however large. */
  takeBatch({ compatibility }: Item, maxImages: number): Item[] {
    const batch: Item[] = [];
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
