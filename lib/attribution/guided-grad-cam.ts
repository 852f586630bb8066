import { BaseCAM } from '../cam/base-cam.js';
import { invalidArgumentType } from '../errors/errors.js';
import { readOptions } from '../errors/options.js';
import type { ModelInput } from '../model/model.js';
import { elementCount } from '../tensor/element-count.js';
import { Tensor } from '../tensor/tensor.js';
import type { AttributeOptions } from './attribution.js';
import { GuidedBackprop } from './gradient-attributions.js';

/**
 * Guided Grad-CAM: guided backpropagation, which is sharp, times a class activation map, which knows the class
 * (R. R. Selvaraju et al. 2017, section 3.2).
 * @returns float32 `[N, C, H, W]`, signed, for each image and target
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_UNKNOWN_OPTION`
 * @throws {GradCamError} as `explain()` and `attribute()`
 */
export async function guidedGradCam(
  cam: BaseCAM,
  guided: GuidedBackprop,
  input: ModelInput,
  options: Omit<AttributeOptions, 'onProgress'> = {},
): Promise<Tensor> {
  const given = readOptions<typeof options>('guidedGradCam options', options, [
    'targets',
    'arguments',
    'signal',
  ]);
  if (!(cam instanceof BaseCAM)) throw invalidArgumentType('cam', 'a CAM method, such as new GradCAM()', cam);
  if (!(guided instanceof GuidedBackprop)) throw invalidArgumentType('guided', 'a GuidedBackprop', guided);
  // Both start now, of the input as it is now.
  const [explaining, attributing] = [cam.explain(input, given), guided.attribute(input, given)];
  attributing.catch(() => {});
  explaining.catch(() => attributing.then((late) => late.dispose()).catch(() => {}));
  using explanation = await explaining;
  using attribution = await attributing;
  const heat = explanation.heatmaps.toTypedArray() as Float32Array;
  const gradients = attribution.attributions.toTypedArray() as Float32Array;
  const { shape } = attribution.attributions;
  const [, channels = 1, ...space] = shape;
  const places = elementCount(space);
  const product = gradients.map((value, index) => {
    const map = Math.floor(index / (channels * places));
    return value * (heat[map * places + (index % places)] as number);
  });
  return Tensor.from(product, shape);
}
