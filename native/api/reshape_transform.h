#pragma once

#include <optional>
#include <string>
#include <vector>

namespace gradcam {

// One step by which a model ordered its tokens anew; see token_order.h.
struct UnrollStep {
  std::vector<int64_t> units, inner;  // along each spatial axis; -1 where the graph does not tell
};

// How the output of a layer that is not [B, C, ...space] becomes that: pytorch-grad-cam's reshape_transform.
struct ReshapeTransform {
  enum class Kind {
    None,           // [B, C, ...space], unless the weights in the layer tell that its channels are last
    Tokens,         // [B, prefix + places, C] of a vision transformer, or [prefix + places, B, C]
    ChannelsLast,   // [B, ...space, C]
    FeaturePyramid  // several maps, [B, C, ...space] each; see feature_pyramid.h
  } kind = Kind::None;
  // Tokens before those of the image (class, distillation, registers); none: what is left over of the grid.
  std::optional<int64_t> prefixTokens;
  bool asItIs = false;             // None: whatever the weights tell
  bool batchFirst = true;          // Tokens: the first axis is the images, else the tokens
  std::vector<int64_t> grid;       // places along each spatial axis; empty: found from the image's size
  std::vector<int64_t> imageSize;  // spatial sizes of the model's input
  std::vector<UnrollStep> unrolled = {};  // Tokens: what brought them into another order than that of rows
};

// The image's sizes in a batch of the shape [B, C, ...space] or [B, H, W, C].
std::vector<int64_t> spatialSizesOf(const std::vector<int64_t>& shape);

}  // namespace gradcam
