#include "core/reshape_transform.h"

#include <cmath>
#include <sstream>

#include "core/failure.h"
#include "core/torch.h"

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

at::Tensor tokensToSpace(const at::Tensor& given,
                         const ReshapeTransform& transform,
                         const std::string& path) {
  if (given.dim() != 3) throwDoesNotFit(given, path, "tokens are [images, tokens, channels].");
  const at::Tensor tensor = transform.batchFirst ? given : given.transpose(0, 1);
  const int64_t tokens = tensor.size(1);
  std::vector<int64_t> grid = transform.grid;
  if (grid.empty()) {
    const auto places = static_cast<double>(tokens - transform.prefixTokens.value_or(0));
    const auto side = static_cast<int64_t>(std::floor(std::sqrt(std::max(places, 0.0))));
    grid = {side, side};
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

at::Tensor applyReshape(const at::Tensor& tensor,
                        const ReshapeTransform& transform,
                        const std::string& path) {
  switch (transform.kind) {
    case ReshapeTransform::Kind::Tokens:
      return tokensToSpace(tensor, transform, path);
    case ReshapeTransform::Kind::ChannelsLast:
      if (tensor.dim() < 3) throwDoesNotFit(tensor, path, "channels last is [images, ...space, channels].");
      return tensor.movedim(-1, 1);
    default:
      return tensor;
  }
}

}  // namespace gradcam
