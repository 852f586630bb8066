#include "core/cam/feature_pyramid.h"

#include <algorithm>

#include "api/failure.h"
#include "core/cam/heatmap.h"

namespace gradcam {
namespace {

bool isSmaller(const at::Tensor& a, const at::Tensor& b) {
  return a[0][0].numel() < b[0][0].numel();
}

// Whether all could be levels: [images, channels, ...space] of the same images.
bool areMaps(const std::vector<at::Tensor>& maps, const ReshapeTransform& reshape) {
  return std::all_of(maps.begin(), maps.end(), [&](const at::Tensor& level) {
    return level.dim() == maps[0].dim() && level.dim() >= 3 && level.dim() <= 5 &&
           level.dim() >= static_cast<int64_t>(reshape.imageSize.size()) + 2 &&
           level.size(0) == maps[0].size(0) && level.numel() > 0;
  });
}

// Whether each level is as fine as the one before or coarser (or all the other way round), and not all are
// the same: features with a gate, or states, are maps of one size.
bool areInOrderOfSize(const std::vector<at::Tensor>& maps) {
  bool coarser = true, finer = true;
  for (std::size_t level = 1; level < maps.size(); ++level) {
    for (int64_t axis = 2; axis < maps[0].dim(); ++axis) {
      coarser = coarser && maps[level].size(axis) <= maps[level - 1].size(axis);
      finer = finer && maps[level].size(axis) >= maps[level - 1].size(axis);
    }
  }
  return (coarser || finer) && maps.front().sizes().slice(2) != maps.back().sizes().slice(2);
}

[[noreturn]] void throwNotAPyramid(const ActivationsAndGradients::Layer& layer, const std::string& tensors) {
  throw Failure("ERR_LAYER_OUTPUT", "Layer '" + layer.path + "' gives " + tensors).withLayer(layer.path);
}

// The size at which the levels are joined where no gradient weights each for itself: the smallest level's, as
// pytorch-grad-cam's. Where that has one place along an axis, as SSD's last, it is no map: the finest
// level's.
at::IntArrayRef sizeToJoinAt(const std::vector<at::Tensor>& levels) {
  const at::Tensor& smallest = *std::min_element(levels.begin(), levels.end(), isSmaller);
  const at::IntArrayRef size = smallest.sizes().slice(2);
  const bool isMap = std::all_of(size.begin(), size.end(), [](int64_t places) { return places > 1; });
  return isMap ? size : finestSize(levels);
}

}  // namespace

void checkLevels(const ActivationsAndGradients::Layer& layer, const ReshapeTransform& reshape) {
  const bool asked = reshape.kind == ReshapeTransform::Kind::FeaturePyramid;
  if (!layer.isPyramid()) {
    if (asked)
      throwNotAPyramid(layer,
                       "one tensor, not the levels of a feature pyramid. Leave reshapeTransform out, or "
                       "choose a layer such as 'backbone'.");
    return;
  }
  const std::string& given = *layer.given;
  if (given.empty())
    throwNotAPyramid(layer, "no tensor, or a nested one, which is no map. Choose another layer.");
  const bool pyramid = !layer.maps.empty() && areMaps(layer.maps, reshape) &&
                       (asked || layer.maps.size() == 1 || areInOrderOfSize(layer.maps));
  if (pyramid && (asked || reshape.kind == ReshapeTransform::Kind::None)) return;
  throwNotAPyramid(layer, "several tensors, " + given +
                              (pyramid ? ", the levels of a feature pyramid, which only reshapeTransform "
                                         "'featurePyramid', or none, reads together."
                                       : ", which are not the levels of a feature pyramid.") +
                              " Say which one is meant, as in { path: '" + layer.path +
                              "', output: " + given.substr(0, given.find(": [")) + " }.");
}

at::Tensor joinLevels(const std::vector<at::Tensor>& levels) {
  std::vector<at::Tensor> resized;
  for (const at::Tensor& level : levels) resized.push_back(resizeChannels(level.abs(), sizeToJoinAt(levels)));
  return at::cat(resized, 1);
}

at::IntArrayRef finestSize(const std::vector<at::Tensor>& levels) {
  return std::max_element(levels.begin(), levels.end(), isSmaller)->sizes().slice(2);
}

at::Tensor pyramidMap(const LayerFormula& formula,
                      const std::vector<FormulaInput>& levels,
                      const MethodRequest& request) {
  if (levels.size() == 1) return rawMap(formula, levels[0], request);
  std::vector<at::Tensor> activations;
  for (const FormulaInput& level : levels) activations.push_back(level.activations);
  const bool projected = request.eigenSmooth || formula.projected;
  std::vector<at::Tensor> resized;
  for (const FormulaInput& level : levels) {
    const at::Tensor weighted = formula.weightedActivations(level, request);
    resized.push_back(
        resizeChannels(projected ? weighted : weighted.sum(1, /*keepdim=*/true), finestSize(activations)));
  }
  return sumChannels(at::cat(resized, 1), projected);
}

}  // namespace gradcam
