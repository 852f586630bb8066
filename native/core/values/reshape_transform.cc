#include "core/values/reshape_transform.h"

#include <algorithm>
#include <sstream>

#include "api/failure.h"
#include "core/values/image_axes.h"

namespace gradcam {
namespace {

[[noreturn]] void throwDoesNotFit(const at::Tensor& tensor,
                                  const std::string& path,
                                  const std::string& problem) {
  std::ostringstream message;
  message << "Layer '" << path << "' gives " << tensor.sizes()
          << ", which reshapeTransform cannot read: " << problem;
  throw Failure("ERR_LAYER_OUTPUT", message.str()).withLayer(path);
}

int64_t product(const std::vector<int64_t>& sizes) {
  int64_t result = 1;
  for (const int64_t size : sizes) result *= size;
  return result;
}

[[noreturn]] void throwNoGrid(const at::Tensor& tensor,
                              const ReshapeTransform& transform,
                              const std::string& path) {
  std::ostringstream problem;
  problem << "no grid of the shape of the image, " << at::IntArrayRef(transform.imageSize) << ", has "
          << tensor.size(1) << " tokens";
  if (transform.prefixTokens)
    problem << ", " << *transform.prefixTokens << " of them before the image's";
  else
    problem << ", up to " << mostPrefixTokens << " of them before the image's";
  problem << ". Give prefixTokens and grid: { kind: 'tokens', prefixTokens: 1, grid: [14, 14] }.";
  throwDoesNotFit(tensor, path, problem.str());
}

int64_t placesOf(const std::vector<int64_t>& sizes) {
  int64_t result = 1;
  for (const int64_t size : sizes) {
    if (size < 1) return -1;
    result *= size;
  }
  return result;
}

// [B, tokens, C] in the order of units -> [B, C, ...space] in rows. Pooling took the steps away from the
// first one on; the number of tokens tells how many. An undefined tensor where it fits none.
at::Tensor unitsToRows(const at::Tensor& tokens, const std::vector<UnrollStep>& steps) {
  const std::vector<int64_t>& units = steps.back().units;
  int64_t count = placesOf(units);
  std::size_t first = steps.size();  // of the steps that no pooling took away
  while (count > 0 && count < tokens.size(1) && first > 0) {
    const int64_t inner = placesOf(steps[--first].inner);
    count = inner < 1 ? -1 : count * inner;
  }
  if (count != tokens.size(1)) return {};
  const auto left = static_cast<int64_t>(steps.size() - first), axes = static_cast<int64_t>(units.size());
  std::vector<int64_t> sizes = {tokens.size(0)};
  for (std::size_t step = first; step < steps.size(); ++step)
    sizes.insert(sizes.end(), steps[step].inner.begin(), steps[step].inner.end());
  sizes.insert(sizes.end(), units.begin(), units.end());
  sizes.push_back(tokens.size(2));
  // Along each axis the unit, in it the place of the last step, in that the one of the step before.
  std::vector<int64_t> order = {0, static_cast<int64_t>(sizes.size()) - 1}, space;
  for (int64_t axis = 0; axis < axes; ++axis) {
    space.push_back(1);
    for (int64_t step = left; step >= 0; --step) {
      order.push_back(1 + step * axes + axis);
      space.back() *= sizes[static_cast<std::size_t>(order.back())];
    }
  }
  std::vector<int64_t> rows = {tokens.size(0), tokens.size(2)};
  rows.insert(rows.end(), space.begin(), space.end());
  return tokens.reshape(sizes).permute(order).reshape(rows);
}

at::Tensor tokensToSpace(const at::Tensor& given,
                         const ReshapeTransform& transform,
                         const std::string& path) {
  if (given.dim() != 3) throwDoesNotFit(given, path, "tokens are [images, tokens, channels].");
  const at::Tensor tensor = transform.batchFirst ? given : given.transpose(0, 1);
  const int64_t tokens = tensor.size(1);
  std::vector<int64_t> grid = transform.grid;
  if (!transform.unrolled.empty()) {
    const int64_t prefix = std::min(transform.prefixTokens.value_or(0), tokens);
    const at::Tensor rows = unitsToRows(tensor.narrow(1, prefix, tokens - prefix), transform.unrolled);
    if (rows.defined() && (grid.empty() || rows.sizes().slice(2) == at::IntArrayRef(grid))) return rows;
    throwDoesNotFit(given, path,
                    "the model brought the tokens into another order than that of rows (mask units, as in "
                    "Hiera), which its graph does not tell in full. Choose a layer before that.");
  }
  if (grid.empty()) {
    grid = inferGrid(tokens, transform.prefixTokens, transform.imageSize);
    if (grid.empty()) throwNoGrid(tensor, transform, path);
  }
  const int64_t prefix = transform.prefixTokens.value_or(tokens - product(grid));
  if (prefix < 0 || product(grid) <= 0 || prefix + product(grid) != tokens) {
    std::ostringstream problem;
    problem << prefix << " prefix tokens and a grid of " << at::IntArrayRef(grid) << " make "
            << prefix + product(grid) << " tokens, not " << tokens << ". Give prefixTokens and grid.";
    throwDoesNotFit(tensor, path, problem.str());
  }
  std::vector<int64_t> sizes = {tensor.size(0), tensor.size(2)};
  sizes.insert(sizes.end(), grid.begin(), grid.end());
  return tensor.narrow(1, prefix, product(grid)).transpose(1, 2).reshape(sizes);
}

}  // namespace

std::vector<int64_t> spatialSizesOf(const std::vector<int64_t>& shape) {
  return spatialSizes(shape);
}

std::vector<int64_t> inferGrid(int64_t tokens,
                               const std::optional<int64_t>& prefixTokens,
                               const std::vector<int64_t>& imageSize) {
  if (imageSize.size() != 2 || imageSize[0] < 1 || imageSize[1] < 1) return {};
  std::vector<int64_t> best;
  for (int64_t height = 1; height <= std::min(imageSize[0], tokens); ++height) {
    // Where patches do not divide the image evenly, the width is rounded either way.
    const int64_t exact = height * imageSize[1];
    const int64_t roundedDown = std::max<int64_t>(1, exact / imageSize[0]);
    const int64_t roundedUp = (exact + imageSize[0] - 1) / imageSize[0];
    for (const int64_t width : {roundedDown, roundedUp}) {
      const int64_t left = tokens - height * width;
      if (left < 0 || left != prefixTokens.value_or(left)) continue;
      if (best.empty() || height * width > product(best)) best = {height, width};
    }
  }
  const bool known =
      prefixTokens.has_value() || (!best.empty() && tokens - product(best) <= mostPrefixTokens);
  return known ? best : std::vector<int64_t>{};
}

bool fitsGrid(int64_t tokens, const ReshapeTransform& transform) {
  if (transform.grid.empty()) return !inferGrid(tokens, transform.prefixTokens, transform.imageSize).empty();
  const int64_t left = tokens - product(transform.grid);
  return left >= 0 && left == transform.prefixTokens.value_or(left);
}

at::Tensor applyReshape(const at::Tensor& tensor,
                        const ReshapeTransform& transform,
                        const std::string& path) {
  switch (transform.kind) {
    case ReshapeTransform::Kind::Tokens:
      return tokensToSpace(tensor, transform, path);
    case ReshapeTransform::Kind::ChannelsLast:
      if (tensor.dim() != static_cast<int64_t>(transform.imageSize.size()) + 2) {
        throwDoesNotFit(
            tensor, path,
            "channels last ('nhwc') is [images, ...space, channels], with as many spatial axes as the "
            "input. [images, tokens, channels] is kind 'tokens'.");
      }
      return tensor.movedim(-1, 1);
    default:
      return tensor;
  }
}

}  // namespace gradcam
