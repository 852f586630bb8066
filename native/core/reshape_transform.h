#pragma once

#include <optional>
#include <string>
#include <vector>

namespace at {
class Tensor;
}

namespace gradcam {

// How the output of a layer that is not [B, C, ...space] becomes that: pytorch-grad-cam's reshape_transform.
struct ReshapeTransform {
  enum class Kind {
    None,
    Tokens,         // [B, prefix + places, C] of a vision transformer
    ChannelsLast,   // [B, ...space, C]
    FeaturePyramid  // several maps, [B, C, ...space] each; see feature_pyramid.h
  } kind = Kind::None;
  // Tokens before those of the image (class, distillation, registers); none: what is left over of the grid,
  // or of the largest square.
  std::optional<int64_t> prefixTokens;
  std::vector<int64_t> grid;  // places along each spatial axis; empty: a square
};

// Throws ERR_LAYER_OUTPUT where the tensor, of layer `path`, does not fit.
at::Tensor applyReshape(const at::Tensor& tensor, const ReshapeTransform& transform, const std::string& path);

}  // namespace gradcam
