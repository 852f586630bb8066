export { applyColormap } from './apply-colormap.js';
export { binaryMask } from './binary-mask.js';
export { type Box, boxFromMap } from './box-from-map.js';
export { type ColormapName, colormapNames, type RgbColor } from './colormaps.js';
export { type Contour, contoursFromMap } from './contours-from-map.js';
export { deprocessImage } from './deprocess-image.js';
export {
  type Drawing,
  type DrawOnOriginalOptions,
  drawOnOriginal,
  mapOfOriginal,
  type PreparedImage,
} from './draw-on-original.js';
export { gaussianBlur } from './gaussian-blur.js';
export { type HeatLayerOptions, heatLayer } from './heat-layer.js';
export { createLabelsLegend } from './labels-legend.js';
export { normalizeMap } from './normalize-map.js';
export { type EncodeOptions, Picture, type PictureFormat } from './picture.js';
export { type PictureGrid, pictureGrid } from './picture-grid.js';
export type { RgbImage } from './rgb-image.js';
export { type ShowAttentionMapOptions, showAttentionMap } from './show-attention-map.js';
export { showBoxesOnImage } from './show-boxes-on-image.js';
export { type ShowCamOptions, showCamOnImage } from './show-cam-on-image.js';
export { type ShowContoursOptions, showContoursOnImage } from './show-contours-on-image.js';
export { type ShowFactorizationOptions, showFactorizationOnImage } from './show-factorization-on-image.js';
export { showMaskOnImage } from './show-mask-on-image.js';
export { type Panel, type SideBySideOptions, sideBySide } from './side-by-side.js';
export { type SignedMapOptions, signedMap } from './signed-map.js';
export type { LineOptions } from './vector-layer.js';
