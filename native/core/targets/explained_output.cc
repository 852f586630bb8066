#include "core/targets/explained_output.h"

#include <algorithm>
#include <cstdlib>
#include <set>

#include "api/failure.h"
#include "core/values/image_axes.h"
#include "core/values/output_tree.h"

namespace gradcam {
namespace {

using Kind = Target::Kind;

// Whether the target may know of places in the output.
bool knowsPlaces(Kind kind) {
  return kind == Kind::Boxes || kind == Kind::Segmentation || kind == Kind::Vector || kind == Kind::Cosine ||
         kind == Kind::Concept || kind == Kind::Scripted || kind == Kind::Function;
}

// Whether two axes of `output`, from `first` on, have the shape of the image, to rounding.
bool hasShapeOf(at::IntArrayRef output, std::size_t first, const std::vector<int64_t>& image) {
  const int64_t height = output[first], width = output[first + 1];
  const int64_t rounding = std::max(image[0], image[1]);
  return std::llabs(height * image[1] - width * image[0]) <= rounding;
}

bool isDetections(const c10::IValue& value) {
  if (!value.isList()) return false;
  const auto images = value.toListRef();
  return !images.empty() && std::all_of(images.begin(), images.end(), [](const c10::IValue& image) {
    return image.isGenericDict() && image.toGenericDict().contains("boxes");
  });
}

// A detector's boxes, x1, y1, x2, y2 in pixels of the input, and masks, [n, 1, height, width], mirrored.
c10::IValue mirroredDetections(const c10::IValue& detections, int64_t width) {
  c10::impl::GenericList images(detections.toList().elementType());
  for (const c10::IValue& image : detections.toListRef()) {
    const auto old = image.toGenericDict();
    c10::impl::GenericDict mirrored(old.keyType(), old.valueType());
    for (const auto& entry : old) {
      const std::string name = entry.key().isString() ? entry.key().toStringRef() : "";
      c10::IValue value = entry.value();
      if (name == "masks" && value.isTensor()) value = value.toTensor().flip({-1});
      if (name == "boxes" && value.isTensor()) {
        const auto sides = value.toTensor().unbind(-1);
        value = at::stack({width - sides.at(2), sides.at(1), width - sides.at(0), sides.at(3)}, -1);
      }
      mirrored.insert(entry.key(), value);
    }
    images.push_back(mirrored);
  }
  return images;
}

// Keypoints have a left and a right.
bool knowsMoreThanBoxes(const c10::IValue& detections) {
  static const std::set<std::string> known = {"boxes", "labels", "scores", "masks"};
  for (const c10::IValue& image : detections.toListRef()) {
    for (const auto& entry : image.toGenericDict()) {
      if (!entry.key().isString() || known.count(entry.key().toStringRef()) == 0) return true;
    }
  }
  return false;
}

}  // namespace

ExplainedOutput::ExplainedOutput(const OutputSelector& selector,
                                 at::IntArrayRef images,
                                 const TargetsPerImage& targets)
    : selector_(selector), images_(images.vec()), targets_(&targets) {}

c10::IValue ExplainedOutput::of(const c10::IValue& output) const {
  const c10::IValue value = selectValue(output, selector_);
  if (images_.empty()) return value;
  bool places = false, onlyMasks = true, onlyBoxes = true;
  for (const auto& ofImage : *targets_) {
    for (const Target& target : ofImage) {
      places = places || knowsPlaces(target.kind);
      onlyMasks = onlyMasks && target.kind == Kind::Segmentation;
      onlyBoxes = onlyBoxes && target.kind == Kind::Boxes;
    }
  }
  if (!places) return value;
  const at::AutoGradMode record(true);
  if (isDetections(value) && (onlyBoxes || !knowsMoreThanBoxes(value))) {
    const bool last = isChannelsLast(images_);
    return mirroredDetections(value, images_.at(images_.size() - (last ? 2 : 1)));
  }
  if (value.isTensor()) {
    const at::Tensor& tensor = value.toTensor();
    if (tensor.dim() <= 2) return value;      // a vector for each image has no places
    if (onlyMasks) return tensor.flip({-1});  // [images, categories, ...space]
    const auto image = spatialSizes(images_);
    if (image.size() == 2 && tensor.dim() == 4) {
      const bool last = isChannelsLast(tensor.sizes());
      if (hasShapeOf(tensor.sizes(), last ? 1 : 2, image)) return tensor.flip({last ? -2 : -1});
    }
  }
  throw Failure("ERR_UNSUPPORTED",
                "augSmooth mirrors the image, and for this kind of target it cannot be told how the model's "
                "output is mirrored back. Leave augSmooth out, or give it changes that do not mirror: "
                "augSmooth: [{ multiply: 0.9 }, {}, { multiply: 1.1 }].");
}

}  // namespace gradcam
