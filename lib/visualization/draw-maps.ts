import type { LoadedImage } from '../image/load-image.js';
import type { Tensor } from '../tensor/tensor.js';
import type { ColormapName } from './colours/colormaps.js';
import { binaryMask } from './maps/binary-mask.js';
import { boxFromMap } from './maps/box-from-map.js';
import { gaussianBlur } from './maps/gaussian-blur.js';
import { applyColormap } from './overlays/apply-colormap.js';
import { drawOnOriginal, enlargeOnto } from './overlays/draw-on-original.js';
import { showAttentionMap } from './overlays/show-attention-map.js';
import { showBoxesOnImage } from './overlays/show-boxes-on-image.js';
import { showCamOnImage } from './overlays/show-cam-on-image.js';
import { showContoursOnImage } from './overlays/show-contours-on-image.js';
import { showMaskOnImage } from './overlays/show-mask-on-image.js';
import type { Picture } from './pictures/picture.js';
import type { RgbImage } from './pictures/rgb-image.js';
import { type Panel, sideBySide } from './pictures/side-by-side.js';

export const mapStyles = ['overlay', 'attention', 'heat', 'contour', 'box', 'mask'] as const;

/** The image under the maps; a `LoadedImage` fits. */
export type DrawnImage = Omit<LoadedImage, 'tensor' | 'bits' | 'range' | 'path'>;

/** How maps are drawn. */
export interface MapDrawing {
  /** Default `'overlay'`. */
  readonly style?: (typeof mapStyles)[number] | undefined;
  /** Colours of the heat. Default jet. */
  readonly colormap?: ColormapName | undefined;
  /** Of an overlay: how much of the image stays, 0 to 1. Default 0.5. */
  readonly imageWeight?: number | undefined;
  /** Of contour, box and mask: the value from which on, above 0, up to 1. Default 0.5. */
  readonly threshold?: number | undefined;
  /** Draw on the whole photo in its own size, not on what the model saw of it. Default false. */
  readonly original?: boolean | undefined;
}

/** The name of what would change nothing about a style; null where all has an effect. */
export function uselessFor({
  style = 'overlay',
  colormap,
  threshold,
  imageWeight,
}: MapDrawing): 'colormap' | 'threshold' | 'imageWeight' | null {
  const hasColours = style === 'overlay' || style === 'attention' || style === 'heat';
  if (colormap !== undefined && !hasColours) return 'colormap';
  if (threshold !== undefined && hasColours) return 'threshold';
  if (imageWeight !== undefined && style !== 'overlay') return 'imageWeight';
  return null;
}

/**
 * The maps of one image drawn, several captioned side by side.
 * @param beside - put the image itself to the left of its maps
 */
export async function drawMaps(
  image: DrawnImage,
  maps: readonly Tensor[],
  captions: readonly string[],
  drawing: MapDrawing,
  { beside = false } = {},
): Promise<Picture> {
  const pictures: Picture[] = [];
  for (const map of maps) {
    pictures.push(
      drawing.original
        ? await drawOnOriginal(image, prepared(map, drawing), (seen, heat) => draw(seen, heat, drawing))
        : await draw(image, prepared(map, drawing), drawing),
    );
  }
  const panels: Panel[] = pictures.map((picture, index) => ({ picture, caption: captions[index] ?? '' }));
  if (beside) panels.unshift({ picture: drawing.original ? await image.original() : image });
  const [only] = pictures;
  return panels.length === 1 && only ? only : await sideBySide(panels);
}

/** `[maps, H, W]` of the whole photo, 0 where the model saw nothing. */
export function mapsOfOriginal(
  image: DrawnImage,
  maps: readonly Tensor[],
): { values: Float32Array<ArrayBuffer>; shape: number[] } {
  const { originalHeight, originalWidth } = image.geometry;
  const size = originalHeight * originalWidth;
  const values = new Float32Array(maps.length * size);
  for (const [index, map] of maps.entries())
    enlargeOnto(image, map, values.subarray(index * size, (index + 1) * size));
  return { values, shape: [maps.length, originalHeight, originalWidth] };
}

/** The blur of an attention map belongs to the model's view, also where the photo is much larger. */
function prepared(map: Tensor, { style }: MapDrawing): Tensor {
  return style === 'attention' ? gaussianBlur(map, 0.02 * Math.max(...map.shape)) : map;
}

async function draw(image: RgbImage, map: Tensor, drawing: MapDrawing): Promise<Picture> {
  const { style = 'overlay', colormap, threshold = 0.5, imageWeight = 0.5 } = drawing;
  const colours = colormap === undefined ? {} : { colormap };
  if (style === 'attention') return showAttentionMap(image, map, colours);
  if (style === 'heat') return applyColormap(map, colormap);
  if (style === 'contour') return await showContoursOnImage(image, map, { threshold });
  if (style === 'mask') return showMaskOnImage(image, binaryMask(map, threshold));
  if (style === 'box') {
    const box = boxFromMap(map, threshold);
    return await showBoxesOnImage(image, box ? [box] : []);
  }
  return showCamOnImage(image, map, { imageWeight, ...colours });
}
