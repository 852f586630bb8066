import { BaseCAM } from '../cam/base-cam.js';
import { GradCamError, invalidArgumentType } from '../errors/errors.js';
import { readOptions } from '../errors/options.js';
import type { Model, ModelInput } from '../model/model.js';
import { elementCount } from '../tensor/element-count.js';
import { Tensor } from '../tensor/tensor.js';
import { checkHeatmaps, readMetricOptions } from './perturbed-scores.js';
import { type RoadAverageOptions, roadCombined } from './road.js';

/**
 * How much of the image a map lights up: its mean, 0 to 1. Lower is simpler.
 * @param heatmaps - `[B, ...space]`, values 0 to 1
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`
 * @throws {GradCamError} `ERR_INPUT_SHAPE`
 */
export function complexity(heatmaps: Tensor): number[] {
  const values = checkHeatmaps(heatmaps);
  const [images = 0] = heatmaps.shape;
  const places = values.length / images;
  return Array.from({ length: images }, (_, image) => {
    const map = values.subarray(image * places, (image + 1) * places);
    return map.reduce((sum, value) => sum + value, 0) / places;
  });
}

function correlation(a: Float32Array, b: Float32Array): number {
  const mean = (values: Float32Array) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [meanA, meanB] = [mean(a), mean(b)];
  let covariance = 0;
  let varianceA = 0;
  let varianceB = 0;
  for (let place = 0; place < a.length; place++) {
    const [offA, offB] = [(a[place] ?? 0) - meanA, (b[place] ?? 0) - meanB];
    covariance += offA * offB;
    varianceA += offA * offA;
    varianceB += offB * offB;
  }
  const count = a.length - 1;
  return covariance / count / (Math.sqrt(varianceA / count) * Math.sqrt(varianceB / count) + 1e-8);
}

/**
 * Whether a method finds the same again in what its own map shows of the image: the correlation of both maps, scaled to
 * 0..1. Higher is better.
 * @param images - `[B, C, ...space]`
 * @param heatmaps - `[B, ...space]`, values 0 to 1
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE`, `ERR_UNKNOWN_OPTION`
 * @throws {GradCamError} as `explain()`, and `ERR_INPUT_SHAPE` where heatmaps and images do not fit
 */
export async function coherency(
  cam: BaseCAM,
  images: Tensor,
  heatmaps: Tensor,
  options: Pick<RoadAverageOptions, 'targets' | 'arguments' | 'signal'> = {},
): Promise<number[]> {
  const how = readOptions<typeof options>('coherency options', options, ['targets', 'arguments', 'signal']);
  if (!(cam instanceof BaseCAM)) throw invalidArgumentType('cam', 'a CAM method, such as new GradCAM()', cam);
  if (!(images instanceof Tensor)) throw invalidArgumentType('images', 'a Tensor', images);
  const heat = checkHeatmaps(heatmaps);
  const [count = 0, channels = 0, ...space] = images.shape;
  if ([count, ...space].join() !== heatmaps.shape.join())
    throw new GradCamError(
      'ERR_INPUT_SHAPE',
      `The heatmaps, [${heatmaps.shape.join(', ')}], do not fit the images, [${images.shape.join(', ')}].`,
    );
  const places = elementCount(space);
  const shown = (images.toTypedArray() as Float32Array).map(
    (value, index) =>
      value * (heat[Math.floor(index / (channels * places)) * places + (index % places)] ?? 0),
  );
  using again = await cam.explain(Tensor.from(shown, images.shape), how);
  const found = again.heatmaps.toTypedArray() as Float32Array;
  return Array.from({ length: count }, (_, image) => {
    const of = (values: Float32Array) => values.subarray(image * places, (image + 1) * places);
    return (correlation(of(found), of(heat)) + 1) / 2;
  });
}

/**
 * ARCC of pytorch-grad-cam: the harmonic mean of coherency, simplicity (one minus complexity) and twice ROAD combined,
 * 0 to 1. Higher is better.
 * @throws as {@link coherency} and {@link roadCombined}
 */
export async function arcc(
  model: Model,
  cam: BaseCAM,
  images: Tensor,
  heatmaps: Tensor,
  options: RoadAverageOptions = {},
): Promise<number[]> {
  const all = readMetricOptions<RoadAverageOptions>('arcc', options, ['percentiles', 'noise', 'seed']);
  const { targets, signal, arguments: given } = all;
  const how = {
    ...(targets === undefined ? {} : { targets }),
    ...(given === undefined ? {} : { arguments: given }),
    ...(signal === undefined ? {} : { signal }),
  };
  const coherencies = await coherency(cam, images, heatmaps, how);
  const complexities = complexity(heatmaps);
  const input: ModelInput = images;
  const roads = await roadCombined(model, input, heatmaps, { percentiles: [20, 40, 60, 80], ...all });
  return coherencies.map((coherent, image) => {
    const simple = 1 - (complexities[image] ?? 0);
    const road = Math.min(1, Math.max(0, 2 * (roads[image] ?? 0)));
    return 3 / (1 / (coherent + 1e-8) + 1 / (simple + 1e-8) + 1 / (road + 1e-8));
  });
}
