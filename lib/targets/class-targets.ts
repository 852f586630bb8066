import type { NativeTarget } from '../addon/addon.js';
import { argumentOutOfRange, invalidArgumentType } from '../errors/errors.js';
import { checkIndex, Target } from './target.js';

// Targets of models that give one output per class, [images, classes]. Names and formulas are pytorch-grad-cam's.

/**
 * The output of one class: `output[category]`, before any softmax. As pytorch-grad-cam's class of this name.
 * Needs a model output of shape `[images, classes]`.
 */
export class ClassifierOutputTarget extends Target {
  /** Index of the class, 0 or more. */
  readonly category: number;

  /** @throws {RangeError} `ERR_OUT_OF_RANGE` */
  constructor(category: number) {
    super();
    this.category = checkIndex('category', category);
  }

  /** @internal */
  override toNative(): NativeTarget {
    return { kind: 'class', category: this.category };
  }
}

/**
 * The output of the class that ranks `rank`-th in the image's own output; 0, the default, is the class that the model
 * predicts. `[[new TopClassTarget(0), new TopClassTarget(1)]]` explains the two most likely classes from one forward.
 */
export class TopClassTarget extends Target {
  /** 0 for the highest output. */
  readonly rank: number;

  /** @throws {RangeError} `ERR_OUT_OF_RANGE` */
  constructor(rank = 0) {
    super();
    this.rank = checkIndex('rank', rank);
  }

  /** @internal */
  override toNative(): NativeTarget {
    return { kind: 'rank', category: this.rank };
  }
}

/**
 * A target for each of the `count` likeliest classes.
 * @internal
 */
export function topClassTargets(count: number): TopClassTarget[] {
  return Array.from({ length: count }, (_, rank) => new TopClassTarget(rank));
}

/** The probability of one class: `softmax(output)[category]`. */
export class ClassifierOutputSoftmaxTarget extends Target {
  readonly category: number;

  /** @throws {RangeError} `ERR_OUT_OF_RANGE` */
  constructor(category: number) {
    super();
    this.category = checkIndex('category', category);
  }

  /** @internal */
  override toNative(): NativeTarget {
    return { kind: 'softmax', category: this.category };
  }
}

/**
 * `output[category] + log softmax(output)[category]`: the class's own output and its lead over the others; what
 * ShapleyCAM was made for (H. Cai, 2025).
 */
export class ClassifierOutputReST extends Target {
  readonly category: number;

  /** @throws {RangeError} `ERR_OUT_OF_RANGE` */
  constructor(category: number) {
    super();
    this.category = checkIndex('category', category);
  }

  /** @internal */
  override toNative(): NativeTarget {
    return { kind: 'rest', category: this.category };
  }
}

/** For models with one output that separates two classes: the output for class 1, its negative for class 0. */
export class BinaryClassifierOutputTarget extends Target {
  readonly category: 0 | 1;

  /** @throws {RangeError} `ERR_OUT_OF_RANGE` */
  constructor(category: 0 | 1) {
    super();
    if (category !== 0 && category !== 1) throw argumentOutOfRange('category', '0 or 1', category);
    this.category = category;
  }

  /** @internal */
  override toNative(): NativeTarget {
    return { kind: 'binary', category: this.category };
  }
}

/** The sum of all of an image's outputs. */
export class RawScoresOutputTarget extends Target {
  /** @internal */
  override toNative(): NativeTarget {
    return { kind: 'raw-scores' };
  }
}

/** The sum of all of an image's probabilities. It is always 1: for metrics, not for maps. */
export class SoftmaxOutputTarget extends Target {
  /** @internal */
  override toNative(): NativeTarget {
    return { kind: 'softmax-output' };
  }
}

/**
 * How much more a class gets than others: the differences `output[mainCategory] - alpha * output[other]`, averaged
 * with the others' probabilities as weights. Of FinerCAM (Z. Zhang et al., 2025), for chosen classes.
 */
export class FinerWeightedTarget extends Target {
  readonly mainCategory: number;
  readonly comparisonCategories: readonly number[];
  readonly alpha: number;

  /** @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE` */
  constructor(mainCategory: number, comparisonCategories: readonly number[], alpha = 1) {
    super();
    this.mainCategory = checkIndex('mainCategory', mainCategory);
    if (!Array.isArray(comparisonCategories) || comparisonCategories.length === 0)
      throw invalidArgumentType('comparisonCategories', 'an array of classes', comparisonCategories);
    this.comparisonCategories = comparisonCategories.map((category, index) =>
      checkIndex(`comparisonCategories[${index}]`, category),
    );
    if (!Number.isFinite(alpha)) throw argumentOutOfRange('alpha', 'a finite number', alpha);
    this.alpha = alpha;
  }

  /** @internal */
  override toNative(): NativeTarget {
    const { mainCategory: category, comparisonCategories: others, alpha } = this;
    return { kind: 'finer', category, others, alpha };
  }
}
