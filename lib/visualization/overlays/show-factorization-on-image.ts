import { argumentOutOfRange, invalidArgumentType } from '../../errors/errors.js';
import { readOptions } from '../../errors/options.js';
import { Tensor } from '../../tensor/tensor.js';
import { distinctColors, type RgbColor } from '../colours/colormaps.js';
import { colorOfHue, hueOf } from '../colours/hue.js';
import { withLegend } from '../pictures/legend.js';
import { Picture } from '../pictures/picture.js';
import { floatPixels, type RgbImage } from '../pictures/rgb-image.js';
import { checkColor } from '../pictures/vector-layer.js';
import { checkImageWeight } from './show-cam-on-image.js';

export interface ShowFactorizationOptions {
  /** One for each component; only its hue and saturation count. Default: equal steps through the rainbow. */
  readonly colors?: readonly RgbColor[];
  /** How much of the image stays, 0 to 1. Default 0.5. */
  readonly imageWeight?: number;
  /** One for each component; with them the picture has a legend at its right. See `createLabelsLegend()`. */
  readonly conceptLabels?: readonly string[];
}

/**
 * A factorization over its image: every pixel in the colour of the component that is strongest there, as bright as the
 * component is strong. pytorch-grad-cam's `show_factorization_on_image`, but for the legend's looks.
 * @param image - the pixels; a `LoadedImage` fits
 * @param explanations - `[components, H, W]` of the image's size, values 0 to 1: a factorization's `explanations.at(0)`
 * @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, `ERR_UNKNOWN_OPTION`
 * @example
 * const { explanations, conceptOutputs } = await factorization.factorize(image.tensor, { components: 4 });
 * await showFactorizationOnImage(image, explanations.at(0), { conceptLabels: createLabelsLegend(conceptOutputs, labels) });
 */
export async function showFactorizationOnImage(
  image: RgbImage,
  explanations: Tensor,
  options?: ShowFactorizationOptions,
): Promise<Picture> {
  const given = readOptions<ShowFactorizationOptions>('showFactorizationOnImage options', options, [
    'colors',
    'imageWeight',
    'conceptLabels',
  ]);
  const imageWeight = checkImageWeight(given.imageWeight ?? 0.5);
  const pixels = floatPixels(image);
  const { width, height } = image;
  const strengths = readExplanations(image, explanations);
  const components = explanations.shape[0] ?? 0;
  const colors = checkColors(given.colors, components);
  const labels = checkLabels(given.conceptLabels, components);

  const hues = colors.map(hueOf);
  const area = width * height;
  const rgb = new Uint8Array(area * 3);
  for (let pixel = 0; pixel < area; pixel++) {
    let strongest = 0;
    for (let component = 1; component < components; component++) {
      if ((strengths[component * area + pixel] ?? 0) > (strengths[strongest * area + pixel] ?? 0))
        strongest = component;
    }
    const value = Math.trunc(Math.fround(255 * (strengths[strongest * area + pixel] ?? 0)));
    const color = colorOfHue(hues[strongest] ?? { hue: 0, saturation: 0 }, value);
    for (let channel = 0; channel < 3; channel++) {
      // In float32 as numpy computes it: the results are truncated to bytes.
      const kept = Math.fround((pixels[pixel * 3 + channel] ?? 0) * Math.fround(imageWeight));
      const drawn = Math.fround(Math.fround((color[channel] ?? 0) / 255) * Math.fround(1 - imageWeight));
      rgb[pixel * 3 + channel] = Math.trunc(Math.fround(Math.fround(kept + drawn) * 255));
    }
  }
  const picture = new Picture(rgb, width, height);
  if (labels === undefined) return picture;
  const entries = colors.map((color, component) => ({ color, label: labels[component] ?? '' }));
  return await withLegend(picture, entries);
}

function readExplanations({ width, height }: RgbImage, explanations: Tensor): Float32Array {
  if (!(explanations instanceof Tensor)) throw invalidArgumentType('explanations', 'a Tensor', explanations);
  const { shape } = explanations;
  const [components = 0, rows, columns] = shape;
  if (shape.length !== 3 || components < 1 || rows !== height || columns !== width) {
    throw argumentOutOfRange(
      'explanations',
      `a shape [components, ${height}, ${width}], of the image's size (take one of several with explanations.at(0))`,
      `[${shape.join(', ')}]`,
    );
  }
  const values = explanations.toTypedArray();
  if (!(values instanceof Float32Array))
    throw invalidArgumentType('explanations', 'a float32 tensor', explanations.dtype);
  const wrong = values.find((value) => !(value >= 0 && value <= 1));
  if (wrong !== undefined) throw argumentOutOfRange('explanations', 'values from 0 to 1', wrong);
  return values;
}

function checkColors(colors: unknown, components: number): readonly RgbColor[] {
  if (colors === undefined) return distinctColors(components);
  if (!Array.isArray(colors)) throw invalidArgumentType('colors', 'an array of colours', colors);
  if (colors.length !== components)
    throw argumentOutOfRange('colors', `${components} colours, one for each component`, colors.length);
  return colors.map((color, index) => checkColor(`colors[${index}]`, color));
}

function checkLabels(labels: unknown, components: number): readonly string[] | undefined {
  if (labels === undefined) return undefined;
  if (!Array.isArray(labels) || !labels.every((label) => typeof label === 'string'))
    throw invalidArgumentType('conceptLabels', 'an array of strings', labels);
  if (labels.length !== components)
    throw argumentOutOfRange('conceptLabels', `${components} labels, one for each component`, labels.length);
  return labels;
}
