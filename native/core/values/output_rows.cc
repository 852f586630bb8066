#include "core/values/output_rows.h"

#include <sstream>

#include "api/failure.h"

namespace gradcam {
namespace {

[[noreturn]] void throwRows(const c10::IValue& output, int64_t images) {
  std::ostringstream message;
  message << "The output must have a part for each of " << images << " image" << (images == 1 ? "" : "s")
          << ", but it is ";
  if (!output.isTensor()) {
    message << "a " << output.tagKind()
            << (output.isList() ? " of " + std::to_string(output.toListRef().size()) : "");
  } else if (output.toTensor().dim() == 0) {
    message << "a single number, without axes";
  } else {
    message << "of shape " << output.toTensor().sizes() << ", " << output.toTensor().size(0) << " rows";
  }
  message
      << ". A model that squeezes its output, or that joins several images to one answer, cannot tell "
         "which image a score belongs to: export it with an output of [images, ...], select another part "
         "with `output`, or give one image in each call, if it is a batch size in its trace that joins them.";
  throw Failure("ERR_OUTPUT_SHAPE", message.str());
}

}  // namespace

void checkRows(const c10::IValue& output, int64_t images) {
  if (output.isTensor()) {
    const at::Tensor& tensor = output.toTensor();
    if (tensor.dim() == 0 ? images == 1 : tensor.size(0) == images) return;
  }
  if (output.isList() && static_cast<int64_t>(output.toListRef().size()) == images) return;
  throwRows(output, images);
}

c10::IValue outputOfImage(const c10::IValue& output, int64_t image) {
  if (output.isTensor() && output.toTensor().dim() == 0 && image == 0) return output;
  if (output.isTensor() && output.toTensor().dim() > 0 && image < output.toTensor().size(0)) {
    return output.toTensor().select(0, image);
  }
  if (output.isList() && image < static_cast<int64_t>(output.toListRef().size())) {
    return output.toListRef()[static_cast<std::size_t>(image)];
  }
  throw Failure("ERR_OUTPUT_SHAPE", "The model's output has no part for image " + std::to_string(image) +
                                        ": it is a " + output.tagKind() + ". Select a part with `output`.");
}

c10::IValue outputOfImages(const c10::IValue& output, int64_t first, int64_t count) {
  if (output.isTensor() && output.toTensor().dim() > 0) return output.toTensor().narrow(0, first, count);
  if (!output.isList()) return outputOfImage(output, first);
  c10::impl::GenericList images(output.toList().elementType());
  for (int64_t image = first; image < first + count; ++image) images.push_back(outputOfImage(output, image));
  return images;
}

bool givesClasses(const c10::IValue& output, int64_t images) {
  if (!output.isTensor()) return false;
  const at::Tensor& tensor = output.toTensor();
  return tensor.dim() == 2 && tensor.size(0) == images && tensor.size(1) > 0;
}

}  // namespace gradcam
