import { callNativeAsync, type NativeTarget, type ScriptedTargetReference } from '../addon/addon.js';
import { argumentOutOfRange, invalidArgumentType } from '../errors/errors.js';
import { filePath } from '../files/file-path.js';
import { Tensor, type TensorLike } from '../tensor/tensor.js';
import type { DetectedBox } from './detections.js';
import { checkIndex, Target } from './target.js';

// Targets of models that give more than a vector per image.

/** The outputs of one category inside of a mask, summed, for segmentation: outputs `[images, categories, H, W]`. */
export class SemanticSegmentationTarget extends Target {
  readonly category: number;
  readonly mask: Tensor;

  /**
   * @param mask - `[H, W]` as the model's output; usually 1 where the model sees the category, 0 elsewhere
   * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`
   */
  constructor(category: number, mask: TensorLike) {
    super();
    this.category = checkIndex('category', category);
    this.mask = Tensor.fromLike(mask, 'mask');
  }

  /** @internal */
  override toNative(): NativeTarget {
    return { kind: 'segmentation', category: this.category, tensor: Tensor.reference(this.mask) };
  }
}

/**
 * For detectors like torchvision's Faster R-CNN, which give for each image a dictionary of `boxes`, `labels` and
 * `scores`: for each wanted box the detection that overlaps it most; if its label is the wanted one and it overlaps
 * more than the threshold, its overlap (intersection over union) plus its score. A detection whose edges are within a
 * thousandth of the wanted box's sides is that box: its overlap counts as 1, and the map is that of the score alone. Where
 * no wanted box has a match, explaining throws `ERR_NO_DETECTION`.
 */
export class FasterRCNNBoxScoreTarget extends Target {
  readonly labels: readonly number[];
  readonly boundingBoxes: Tensor;
  readonly iouThreshold: number;

  /**
   * @param labels - one for each box
   * @param boundingBoxes - `[x1, y1, x2, y2]` each, in pixels of the model's input
   * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`
   */
  constructor(labels: readonly number[], boundingBoxes: readonly (readonly number[])[], iouThreshold = 0.5) {
    super();
    if (!Array.isArray(labels) || labels.length === 0)
      throw invalidArgumentType('labels', 'an array of labels', labels);
    this.labels = labels.map((label, index) => checkIndex(`labels[${index}]`, label));
    if (!Array.isArray(boundingBoxes) || boundingBoxes.length !== labels.length)
      throw invalidArgumentType('boundingBoxes', `${labels.length} boxes`, boundingBoxes);
    for (const [index, box] of boundingBoxes.entries()) {
      if (!Array.isArray(box) || box.length !== 4 || !box.every(Number.isFinite))
        throw invalidArgumentType(`boundingBoxes[${index}]`, '[x1, y1, x2, y2]', box);
    }
    this.boundingBoxes = Tensor.from(Float32Array.from(boundingBoxes.flat()), [labels.length, 4]);
    if (!(iouThreshold >= 0 && iouThreshold <= 1))
      throw argumentOutOfRange('iouThreshold', 'a number from 0 to 1', iouThreshold);
    this.iouThreshold = iouThreshold;
  }

  /**
   * The target for boxes that the model itself found; see `detectedBoxes`.
   * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE` (where there is no box, too), `ERR_OUT_OF_RANGE`
   */
  static of(boxes: readonly DetectedBox[], iouThreshold = 0.5): FasterRCNNBoxScoreTarget {
    if (!Array.isArray(boxes) || boxes.length === 0)
      throw invalidArgumentType('boxes', 'at least one box (is minScore too high?)', boxes);
    return new FasterRCNNBoxScoreTarget(
      boxes.map(({ label }) => label),
      boxes.map(({ box }) => [...box]),
      iouThreshold,
    );
  }

  /** @internal */
  override toNative(): NativeTarget {
    const { labels: others, iouThreshold: alpha, boundingBoxes } = this;
    return { kind: 'boxes', others, alpha, tensor: Tensor.reference(boundingBoxes) };
  }
}

/**
 * A TorchScript module that makes a scalar of what the model gives for one image (a row of the output, or an element of
 * a list): for every target that PyTorch can write. Made with {@link TorchScriptTarget.load}.
 */
export class TorchScriptTarget extends Target {
  readonly #reference: ScriptedTargetReference;

  private constructor(reference: ScriptedTargetReference) {
    super();
    this.#reference = reference;
  }

  /**
   * @param file - path or `file:` URL of what `torch.jit.save` wrote; it holds code: load only files you trust
   * @throws {GradCamError} `ERR_MODEL_NOT_FOUND`, `ERR_MODEL_LOAD`
   */
  static async load(file: string | URL): Promise<TorchScriptTarget> {
    const path = filePath(file);
    if (typeof path !== 'string') throw invalidArgumentType('path', 'a string', path);
    const load = callNativeAsync(undefined, (module, cancellation) => module.loadTarget(path, cancellation));
    return new TorchScriptTarget(await load);
  }

  /** @internal */
  override toNative(): NativeTarget {
    return { kind: 'scripted', scripted: this.#reference };
  }
}
