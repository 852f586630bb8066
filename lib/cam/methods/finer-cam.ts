import type { NativeTarget } from '../../addon/addon.js';
import { argumentOutOfRange, invalidArgumentType } from '../../errors/errors.js';
import { ownOptions } from '../../errors/options.js';
import { BaseCAM, type CAMOptions } from '../base-cam.js';

const bases = {
  gradcam: 'GradCAM',
  layercam: 'LayerCAM',
  'gradcam++': 'GradCAMPlusPlus',
  hirescam: 'HiResCAM',
} as const;

export interface FinerCAMOptions extends CAMOptions {
  /** The method that explains the difference. Default `'gradcam'`. */
  readonly base?: keyof typeof bases;
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
    if (!Object.hasOwn(bases, base))
      throw invalidArgumentType('base', `one of '${Object.keys(bases).join("', '")}'`, base);
    if (!Number.isFinite(alpha)) throw argumentOutOfRange('alpha', 'a finite number', alpha);
    if (!Array.isArray(comparisonCategories) || comparisonCategories.length === 0)
      throw invalidArgumentType('comparisonCategories', 'an array of ranks', comparisonCategories);
    for (const rank of comparisonCategories) {
      if (!Number.isInteger(rank) || rank < 0)
        throw argumentOutOfRange('comparisonCategories', 'ranks of at least 0', rank);
    }
    this.method = { name: bases[base] };
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
