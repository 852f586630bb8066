#include "core/feature_pyramid.h"

#include <algorithm>
#include <sstream>

#include "core/cam/heatmap.h"
#include "core/failure.h"

namespace gradcam {
namespace {

bool isSmaller(const at::Tensor& a, const at::Tensor& b) {
  return a[0][0].numel() < b[0][0].numel();
}

// [B, C, ...space] -> [B, C, ...size], each channel for itself.
at::Tensor resizeChannels(const at::Tensor& maps, at::IntArrayRef size) {
  std::vector<int64_t> sizes = {maps.size(0), maps.size(1)};
  sizes.insert(sizes.end(), size.begin(), size.end());
  return resizeMaps(maps.flatten(0, 1), size).reshape(sizes);
}

void checkLevels(const ActivationsAndGradients::Layer& layer) {
  const at::Tensor& first = layer.maps.at(0);
  const bool alike = std::all_of(layer.maps.begin(), layer.maps.end(), [&](const at::Tensor& level) {
    return level.dim() == first.dim() && level.dim() >= 3 && level.dim() <= 5 &&
           level.size(0) == first.size(0) && level.numel() > 0;
  });
  if (alike) return;
  std::ostringstream message;
  message << "Layer '" << layer.path << "' gives several tensors, ";
  for (const at::Tensor& level : layer.maps) message << level.sizes() << " ";
  message << "which are not the levels of a feature pyramid, [images, channels, ...space] each. Choose "
             "another layer.";
  throw Failure("ERR_LAYER_OUTPUT", message.str()).withLayer(layer.path);
}

}  // namespace

at::Tensor activationOf(const ActivationsAndGradients::Layer& layer, const ReshapeTransform& reshape) {
  using Kind = ReshapeTransform::Kind;
  const bool pyramid = !layer.activation.defined();
  if (!pyramid && reshape.kind != Kind::FeaturePyramid)
    return applyReshape(layer.activation.detach(), reshape, layer.path);
  if (!pyramid) {
    throw Failure("ERR_LAYER_OUTPUT", "Layer '" + layer.path +
                                          "' gives one tensor, not the levels of a feature pyramid. Leave "
                                          "reshapeTransform out, or choose a layer such as 'backbone'.")
        .withLayer(layer.path);
  }
  if (layer.maps.empty() || (reshape.kind != Kind::None && reshape.kind != Kind::FeaturePyramid)) {
    throw Failure("ERR_LAYER_OUTPUT",
                  "Layer '" + layer.path +
                      "' gives several tensors, which only reshapeTransform 'featurePyramid' can "
                      "read. Choose a layer inside it, or that transform.")
        .withLayer(layer.path);
  }
  checkLevels(layer);
  const at::Tensor& smallest = *std::min_element(layer.maps.begin(), layer.maps.end(), isSmaller);
  std::vector<at::Tensor> resized;
  for (const at::Tensor& level : layer.maps)
    resized.push_back(resizeChannels(level.detach().abs(), smallest.sizes().slice(2)));
  return at::cat(resized, 1);
}

at::IntArrayRef finestSize(const std::vector<at::Tensor>& levels) {
  return std::max_element(levels.begin(), levels.end(), isSmaller)->sizes().slice(2);
}

at::Tensor pyramidMap(const CamMethod& method,
                      const std::vector<MethodInput>& levels,
                      const MethodSettings& settings,
                      bool eigenSmooth) {
  std::vector<at::Tensor> activations;
  for (const MethodInput& level : levels) activations.push_back(level.activations);
  const bool projected = eigenSmooth || method.projected;
  std::vector<at::Tensor> resized;
  for (const MethodInput& level : levels) {
    const at::Tensor weighted = method.weightedActivations(level, settings);
    resized.push_back(
        resizeChannels(projected ? weighted : weighted.sum(1, /*keepdim=*/true), finestSize(activations)));
  }
  return sumChannels(at::cat(resized, 1), projected);
}

}  // namespace gradcam
