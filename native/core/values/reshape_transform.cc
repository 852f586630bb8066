#include "api/reshape_transform.h"

#include <algorithm>
#include <sstream>

#include "api/failure.h"
#include "core/graphs/token_order.h"
#include "core/process/torch.h"
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
