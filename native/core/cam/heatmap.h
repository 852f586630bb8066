#pragma once

#include <vector>

#include "api/upsampling.h"
#include "core/process/torch.h"

namespace gradcam {

// From raw class activation maps to heatmaps, for one, two or three spatial axes. Matches pytorch-grad-cam's
// scale_cam_image and aggregate_multi_layers; for volumes it is linear where upstream overshoots with a cubic
// spline.

// [N, ...space] -> per map: minus its minimum, divided by epsilon + its maximum. A constant map becomes zero.
at::Tensor scaleToUnitRange(const at::Tensor& maps, double epsilon = 1e-7);

// [N, ...space] -> [N, ...size], half-pixel centres unless `alignCorners`, no antialiasing. Throws
// ERR_UNSUPPORTED for cubic interpolation of anything but images.
at::Tensor resizeMaps(const at::Tensor& maps,
                      at::IntArrayRef size,
                      Upsampling how = Upsampling::Linear,
                      bool alignCorners = false);

// [B, C, ...space] -> [B, C, ...size], each channel for itself.
at::Tensor resizeChannels(const at::Tensor& channels, at::IntArrayRef size);

enum class LayerFusion {
  Mean,
  Product,  // RefineCAM: of each layer's finished heatmap
};

// One raw map per layer, [N, ...space_l] each -> heatmaps [N, ...size], float32 in 0..1: ReLU, scaled,
// resized, then the mean (or the product) over layers, scaled again.
at::Tensor fuseLayers(const std::vector<at::Tensor>& rawMaps,
                      at::IntArrayRef size,
                      LayerFusion fusion,
                      Upsampling how = Upsampling::Linear);

// Throws ERR_NOT_FINITE where a map holds NaN or infinite values, naming what they come from: the output or a
// gradient.
void checkFinite(const at::Tensor& heatmaps, const c10::IValue& output);

}  // namespace gradcam
