#include "api/targets.h"

#include <algorithm>
#include <sstream>

#include "api/failure.h"
#include "core/targets/target_scores.h"

namespace gradcam {
namespace {

bool isOfClasses(Target::Kind kind) {
  return kind == Target::Kind::Class || kind == Target::Kind::Rank || kind == Target::Kind::Softmax ||
         kind == Target::Kind::ReST || kind == Target::Kind::Finer || kind == Target::Kind::FinerRanks;
}

void checkClassOutput(const c10::IValue& output, int64_t imageCount) {
  if (givesClasses(output, imageCount)) return;
  if (output.isTensor() && output.toTensor().dim() == 2) checkRows(output, imageCount);
  std::ostringstream message;
  message << "A class target needs an output of shape [images, classes] = [" << imageCount
          << ", ...], but the model's output is ";
  if (output.isTensor() && output.toTensor().dim() == 0) {
    message << "a single number, without axes";
  } else if (output.isTensor()) {
    message << output.toTensor().sizes();
  } else {
    message << "a " << output.tagKind();
  }
  message << ". Select another output with `output`, or check the input's batch dimension.";
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

void checkClass(int64_t index, int64_t classCount, const char* what) {
  if (index >= 0 && index < classCount) return;
  throw Failure("ERR_CLASS_OUT_OF_RANGE", std::string(what) + " " + std::to_string(index) +
                                              " does not exist: the model has " + std::to_string(classCount) +
                                              " classes, 0 to " + std::to_string(classCount - 1) + ".");
}

// The classes whose outputs are nearest to the reference's, the reference itself first, as FinerCAM picks
// them.
void findNearestClasses(Target& target, const at::Tensor& values, int64_t argmax) {
  const int64_t classCount = values.size(0);
  if (target.category < 0) target.category = argmax;
  checkClass(target.category, classCount, "Class");
  const at::Tensor nearest =
      at::argsort((values - values[target.category]).abs(), /*stable=*/true, /*dim=*/0, /*descending=*/false);
  target.category = nearest[0].item<int64_t>();
  for (int64_t& rank : target.others) {
    rank = nearest[std::min(std::max<int64_t>(rank, 0), classCount - 1)].item<int64_t>();
  }
  target.kind = Target::Kind::Finer;
}

// What targets of classes are chosen by, read from the device only where one asks.
class ClassOutputs {
 public:
  explicit ClassOutputs(at::Tensor output) : output_(std::move(output)) {}

  int64_t count() const { return output_.size(1); }

  // One image's outputs, in double precision on the CPU.
  at::Tensor of(int64_t image) { return values()[image]; }

  // Among equal outputs the first class wins, as in numpy's argmax.
  int64_t ranked(int64_t image, int64_t rank) {
    if (rank == 0) return of(image).argmax().item<int64_t>();
    if (!ranking_.defined())
      ranking_ = at::argsort(values(), /*stable=*/true, /*dim=*/1, /*descending=*/true);
    return ranking_[image][rank].item<int64_t>();
  }

 private:
  const at::Tensor& values() {
    if (!values_.defined()) values_ = output_.detach().to(at::kCPU, at::kDouble);
    return values_;
  }

  const at::Tensor output_;
  at::Tensor values_, ranking_;
};

int64_t resolveClass(Target& target, ClassOutputs& outputs, int64_t image) {
  const int64_t classCount = outputs.count();
  if (target.kind == Target::Kind::Rank) {
    checkClass(target.category, classCount, "Rank");
    target.category = outputs.ranked(image, target.category);
    target.kind = Target::Kind::Class;
  }
  if (target.kind == Target::Kind::FinerRanks)
    findNearestClasses(target, outputs.of(image), outputs.ranked(image, 0));
  checkClass(target.category, classCount, "Class");
  if (target.kind == Target::Kind::Finer) {
    for (const int64_t other : target.others) checkClass(other, classCount, "Class");
  }
  return target.category;
}

}  // namespace

ExplainedMap explainedMap(const ResolvedTarget& target, double score) {
  return {target.imageIndex, target.targetIndex, target.classIndex, score};
}

std::vector<ResolvedTarget> resolveTargets(const c10::IValue& output,
                                           const TargetsPerImage& targets,
                                           int64_t imageCount) {
  checkCount(targets, imageCount);
  const at::NoGradGuard noGrad;
  std::optional<ClassOutputs> classes;
  const bool onlyClasses = std::all_of(targets.begin(), targets.end(), [](const auto& ofImage) {
    return std::all_of(ofImage.begin(), ofImage.end(),
                       [](const Target& each) { return isOfClasses(each.kind); });
  });
  if (!onlyClasses) checkRows(output, imageCount);
  std::vector<ResolvedTarget> resolved;
  for (int64_t image = 0; image < imageCount; ++image) {
    const auto& ofImage = targets[targets.size() == 1 ? 0 : static_cast<std::size_t>(image)];
    for (std::size_t index = 0; index < ofImage.size(); ++index) {
      ResolvedTarget target{image, static_cast<int64_t>(index), -1, ofImage[index]};
      if (isOfClasses(target.target.kind)) {
        if (!classes) {
          checkClassOutput(output, imageCount);
          classes.emplace(output.toTensor());
        }
        target.classIndex = resolveClass(target.target, *classes, image);
      } else if (target.target.kind == Target::Kind::Segmentation ||
                 target.target.kind == Target::Kind::Binary) {
        target.classIndex = target.target.category;
      }
      resolved.push_back(std::move(target));
    }
  }
  return resolved;
}

std::vector<ResolvedTarget> targetsOf(const c10::IValue& output,
                                      const TargetsPerImage& targets,
                                      int64_t imageCount,
                                      const std::vector<ResolvedTarget>* resolved) {
  if (resolved == nullptr) return resolveTargets(output, targets, imageCount);
  checkRows(output, imageCount);
  return *resolved;
}

}  // namespace gradcam
