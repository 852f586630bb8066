import type { NativeTarget } from '../../addon/addon.js';
import { ownOptions } from '../../errors/options.js';
import { BaseCAM, type CAMOptions } from '../base-cam.js';
import { finerBases, readMethodOptions } from './method-options.js';

export interface FinerCAMOptions extends CAMOptions {
  /** The method that explains the difference. Default `'gradcam'`. */
  readonly base?: keyof typeof finerBases;
  /** How strongly the compared classes count. Default 1. */
  readonly alpha?: number;
  /** Which classes to compare with, as ranks of nearness of their outputs; 1 is the nearest. Default `[1, 2, 3]`. */
  readonly comparisonCategories?: readonly number[];
}

/**
 * Finer-CAM: what sets a class apart from the classes most similar to it, for fine distinctions. Targets that are
 * classes (or the predicted one) are compared; other targets are explained as they are. Z. Zhang et al., 2025.
 */
export class FinerCAM extends BaseCAM {
  /** @internal */
  static override readonly shareable = false;

  protected override readonly method: { name: string };
  readonly #alpha: number;
  readonly #ranks: readonly number[];

  /** @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, and all of {@link BaseCAM} */
  constructor(options: FinerCAMOptions) {
    const { base = 'gradcam', alpha = 1, comparisonCategories = [1, 2, 3], ...common } = ownOptions(options);
    super(common);
    readMethodOptions('finercam', { base, alpha, comparisonCategories });
    this.method = { name: finerBases[base] };
    this.#alpha = alpha;
    this.#ranks = [...comparisonCategories];
  }

  /** @internal */
  protected override adjustTarget(target: NativeTarget): NativeTarget {
    const isTop = target.kind === 'rank' && target.category === 0;
    if (target.kind !== 'class' && !isTop) return target;
    const category = isTop ? -1 : (target.category ?? 0);
    return { kind: 'finer-ranks', category, others: this.#ranks, alpha: this.#alpha };
  }
}
