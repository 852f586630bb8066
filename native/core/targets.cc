#include "core/targets.h"

#include <sstream>

#include "core/failure.h"
#include "core/target_scores.h"

namespace gradcam {
namespace {

void checkOutput(const at::Tensor& output, int64_t imageCount) {
  if (output.dim() == 2 && output.size(0) == imageCount && output.size(1) > 0) return;
  std::ostringstream message;
  message << "A class target needs an output of shape [images, classes] = [" << imageCount
          << ", ...], but the model's output is " << output.sizes()
          << ". Select another output with `output`, or check the input's batch dimension.";
  throw Failure("ERR_OUTPUT_SHAPE", message.str());
}

void checkCount(const TargetsPerImage& targets, int64_t imageCount) {
  const auto count = static_cast<int64_t>(targets.size());
  if (count == imageCount || count == 1) return;
  throw Failure(
      "ERR_TARGET_COUNT",
      "There are " + std::to_string(count) + " targets for " + std::to_string(imageCount) +
          " images. Give one target for all images, one per image, or, for several classes of an image, "
          "one list per image: [[281, 282], [7]].");
}

int64_t classOf(const Target& target, const at::Tensor& ranking, int64_t image, int64_t classCount) {
  const bool byRank = target.kind == Target::Kind::Rank;
  if (target.index < 0 || target.index >= classCount) {
    throw Failure("ERR_CLASS_OUT_OF_RANGE",
                  std::string(byRank ? "Rank " : "Class ") + std::to_string(target.index) +
                      " does not exist: the model has " + std::to_string(classCount) + " classes, 0 to " +
                      std::to_string(classCount - 1) + ".");
  }
  return byRank ? ranking.index({image, target.index}).item<int64_t>() : target.index;
}

}  // namespace

std::vector<ResolvedTarget> resolveTargets(const at::Tensor& output,
                                           const TargetsPerImage& targets,
                                           int64_t imageCount) {
  checkOutput(output, imageCount);
  checkCount(targets, imageCount);
  const at::NoGradGuard noGrad;
  const at::Tensor values = output.detach().to(at::kCPU, at::kDouble);
  // Stable, so that among equal outputs the first class wins, as in numpy's argmax.
  const at::Tensor ranking = at::argsort(values, /*stable=*/true, /*dim=*/1, /*descending=*/true);
  std::vector<ResolvedTarget> resolved;
  for (int64_t image = 0; image < imageCount; ++image) {
    const auto& ofImage = targets[targets.size() == 1 ? 0 : static_cast<std::size_t>(image)];
    for (std::size_t index = 0; index < ofImage.size(); ++index) {
      const int64_t classIndex = classOf(ofImage[index], ranking, image, output.size(1));
      resolved.push_back(
          {image, static_cast<int64_t>(index), classIndex, values.index({image, classIndex}).item<double>()});
    }
  }
  return resolved;
}

at::Tensor sumOfScores(const at::Tensor& output, const std::vector<ResolvedTarget>& targets) {
  std::vector<int64_t> images;
  std::vector<int64_t> classes;
  for (const ResolvedTarget& target : targets) {
    images.push_back(target.imageIndex);
    classes.push_back(target.classIndex);
  }
  const auto indices = at::TensorOptions().dtype(at::kLong);
  return output
      .index(
          {at::tensor(images, indices).to(output.device()), at::tensor(classes, indices).to(output.device())})
      .sum();
}

}  // namespace gradcam
