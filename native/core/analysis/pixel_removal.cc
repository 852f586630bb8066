#include "core/analysis/pixel_removal.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "api/cancellation.h"

#include "core/process/parallel_loop.h"

namespace gradcam {
namespace {

// The threshold of 0..255 that separates two classes of largest variance between them.
int otsuThreshold(const at::Tensor& levels) {
  std::array<double, 256> counts{};
  const at::Tensor flat = levels.flatten().contiguous();
  for (int64_t index = 0; index < flat.numel(); ++index) counts[flat.data_ptr<uint8_t>()[index]] += 1;
  const auto total = static_cast<double>(flat.numel());
  double sum = 0;
  for (int level = 0; level < 256; ++level) sum += level * counts[static_cast<std::size_t>(level)];
  double below = 0, sumBelow = 0, best = -1;
  int threshold = 0;
  for (int level = 0; level < 256; ++level) {
    below += counts[static_cast<std::size_t>(level)];
    sumBelow += level * counts[static_cast<std::size_t>(level)];
    const double above = total - below;
    if (below == 0 || above == 0) continue;
    const double difference = sumBelow / below - (sum - sumBelow) / above;
    const double variance = below * above * difference * difference;
    if (variance > best) {
      best = variance;
      threshold = level;
    }
  }
  return threshold;
}

// The linear system of the missing pixels of one channel, by conjugate gradients on the image grid: its
// matrix is the grid's Laplacian, which is symmetric and, with something kept, positive definite.
class Imputation {
 public:
  Imputation(const bool* keep, int64_t height, int64_t width)
      : keep_(keep), height_(height), width_(width), cancellation_(Cancellation::ofThisThread()) {
    diagonal_.resize(static_cast<std::size_t>(height * width));
    forEachMissing([&](int64_t y, int64_t x) {
      double sum = 0;
      forEachNeighbour(y, x, [&](int64_t, double weight) { sum += weight; });
      diagonal_[static_cast<std::size_t>(y * width_ + x)] = sum;
    });
  }

  void solve(double* values) const {
    const std::size_t count = diagonal_.size();
    std::vector<double> residual(count), direction(count), product(count), scaled(count);
    forEachMissing([&](int64_t y, int64_t x) { values[y * width_ + x] = 0; });
    // Right side: what the kept neighbours contribute.
    forEachMissing([&](int64_t y, int64_t x) {
      double sum = 0;
      forEachNeighbour(y, x, [&](int64_t other, double weight) {
        if (keep_[other]) sum += weight * values[other];
      });
      residual[static_cast<std::size_t>(y * width_ + x)] = sum;
    });
    const auto precondition = [&] {
      forEachMissing([&](int64_t y, int64_t x) {
        const auto at = static_cast<std::size_t>(y * width_ + x);
        scaled[at] = residual[at] / diagonal_[at];
      });
    };
    const auto dot = [&](const std::vector<double>& a, const std::vector<double>& b) {
      double sum = 0;
      for (std::size_t index = 0; index < count; ++index) sum += a[index] * b[index];
      return sum;
    };
    precondition();
    direction = scaled;
    double energy = dot(residual, scaled);
    const double enough = energy * 1e-20;
    for (int iteration = 0; iteration < 20000 && energy > enough && energy > 0; ++iteration) {
      if (cancellation_ != nullptr) cancellation_->throwIfCancelled();
      multiply(direction, product);
      const double step = energy / dot(direction, product);
      for (std::size_t index = 0; index < count; ++index) {
        if (keep_[index]) continue;
        values[index] += step * direction[index];
        residual[index] -= step * product[index];
      }
      precondition();
      const double next = dot(residual, scaled);
      const double ratio = next / energy;
      for (std::size_t index = 0; index < count; ++index)
        direction[index] = scaled[index] + ratio * direction[index];
      energy = next;
    }
  }

 private:
  template <typename Visit>
  void forEachMissing(const Visit& visit) const {
    for (int64_t y = 0; y < height_; ++y) {
      for (int64_t x = 0; x < width_; ++x) {
        if (!keep_[y * width_ + x]) visit(y, x);
      }
    }
  }

  template <typename Visit>
  void forEachNeighbour(int64_t y, int64_t x, const Visit& visit) const {
    for (int64_t dy = -1; dy <= 1; ++dy) {
      for (int64_t dx = -1; dx <= 1; ++dx) {
        if ((dy == 0 && dx == 0) || y + dy < 0 || y + dy >= height_ || x + dx < 0 || x + dx >= width_)
          continue;
        visit((y + dy) * width_ + x + dx, dy == 0 || dx == 0 ? 1.0 / 6 : 1.0 / 12);
      }
    }
  }

  void multiply(const std::vector<double>& vector, std::vector<double>& result) const {
    forEachMissing([&](int64_t y, int64_t x) {
      const auto at = static_cast<std::size_t>(y * width_ + x);
      double sum = diagonal_[at] * vector[at];
      forEachNeighbour(y, x, [&](int64_t other, double weight) {
        if (!keep_[other]) sum -= weight * vector[static_cast<std::size_t>(other)];
      });
      result[at] = sum;
    });
  }

  const bool* keep_;
  const int64_t height_, width_;
  const Cancellation* const cancellation_;  // of the job, for whose channels several threads may work
  std::vector<double> diagonal_;
};

}  // namespace

at::Tensor pixelsToKeep(const at::Tensor& relevance, std::optional<double> percentile) {
  if (!percentile) {
    const at::Tensor levels = (relevance * 255).to(at::kByte);
    return levels <= otsuThreshold(levels);
  }
  const at::Tensor flat = relevance.flatten();
  const int64_t count = flat.numel();
  const auto kept = static_cast<int64_t>(std::ceil(*percentile / 100 * static_cast<double>(count - 1)));
  const at::Tensor order = at::argsort(flat, /*stable=*/true, /*dim=*/0, /*descending=*/false);
  at::Tensor keep = at::zeros({count}, at::kBool);
  keep.index_fill_(0, order.slice(0, 0, std::clamp<int64_t>(kept, 0, count)), true);
  return keep.view(relevance.sizes());
}

at::Tensor imputePixels(const at::Tensor& image, const at::Tensor& keep, double noise, int64_t seed) {
  at::Tensor result = image.to(at::kDouble).contiguous().clone();
  const at::Tensor kept = keep.contiguous();
  const at::Tensor missing = kept.logical_not();
  if (!kept.any().item<bool>()) {
    result.copy_(result.mean({1, 2}, /*keepdim=*/true).expand_as(result));
  } else if (missing.any().item<bool>()) {
    const Imputation imputation(kept.data_ptr<bool>(), image.size(1), image.size(2));
    const int64_t places = image.size(1) * image.size(2);
    parallelLoop(image.size(0), places, [&](int64_t begin, int64_t end) {
      for (int64_t channel = begin; channel < end; ++channel)
        imputation.solve(result.data_ptr<double>() + channel * places);
    });
  }
  if (noise > 0) {
    auto generator = at::make_generator<at::CPUGeneratorImpl>(static_cast<uint64_t>(seed));
    result = result + noise * at::randn(result.sizes(), generator, at::kDouble) * missing.to(at::kDouble);
  }
  return result.to(image.scalar_type());
}

}  // namespace gradcam
