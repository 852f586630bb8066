export { type ColormapName, colormapNames, type RgbColor } from './colours/colormaps.js';
export { binaryMask } from './maps/binary-mask.js';
export { type Box, boxFromMap } from './maps/box-from-map.js';
export { type Contour, contoursFromMap } from './maps/contours-from-map.js';
export { gaussianBlur } from './maps/gaussian-blur.js';
export { normalizeMap } from './maps/normalize-map.js';
export { type SignedMapOptions, signedMap } from './maps/signed-map.js';
export { applyColormap } from './overlays/apply-colormap.js';
export { deprocessImage } from './overlays/deprocess-image.js';
export {
  type Drawing,
  type DrawOnOriginalOptions,
  drawOnOriginal,
  mapOfOriginal,
  type PreparedImage,
} from './overlays/draw-on-original.js';
export { type HeatLayerOptions, heatLayer } from './overlays/heat-layer.js';
export { type ShowAttentionMapOptions, showAttentionMap } from './overlays/show-attention-map.js';
export { showBoxesOnImage } from './overlays/show-boxes-on-image.js';
export { type ShowCamOptions, showCamOnImage } from './overlays/show-cam-on-image.js';
export { type ShowContoursOptions, showContoursOnImage } from './overlays/show-contours-on-image.js';
export {
  type ShowFactorizationOptions,
  showFactorizationOnImage,
} from './overlays/show-factorization-on-image.js';
export { showMaskOnImage } from './overlays/show-mask-on-image.js';
export { createLabelsLegend } from './pictures/labels-legend.js';
export { type EncodeOptions, Picture, type PictureFormat } from './pictures/picture.js';
export { type PictureGrid, pictureGrid } from './pictures/picture-grid.js';
export type { RgbImage } from './pictures/rgb-image.js';
export { type Panel, type SideBySideOptions, sideBySide } from './pictures/side-by-side.js';
export type { LineOptions } from './pictures/vector-layer.js';
