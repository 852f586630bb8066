#include "core/model/row_runs.h"

#include <algorithm>
#include <sstream>

#include "api/failure.h"
#include "core/plan/plan_run.h"
#include "core/values/output_rows.h"
#include "core/values/output_tree.h"

namespace gradcam {
namespace {

// The sizes of what belongs to one row; a number without axes is that of one image.
std::optional<std::vector<int64_t>> rowSizesOf(const c10::IValue& output) {
  if (!output.isTensor()) return std::nullopt;
  const at::Tensor& tensor = output.toTensor();
  return tensor.dim() == 0 ? std::vector<int64_t>{} : tensor.sizes().slice(1).vec();
}

bool hasRows(const c10::IValue& output, int64_t rows) {
  try {
    checkRows(output, rows);
    return true;
  } catch (const Failure&) {
    return false;
  }
}

// Which inputs cannot have a row for each image.
std::vector<bool> withoutRowsOfImages(const ModelInputs& inputs) {
  std::vector<bool> without;
  for (const at::Tensor& input : inputs.tensors)
    without.push_back(input.dim() == 0 || input.size(0) != inputs.count());
  return without;
}

}  // namespace

bool mayBeOfRows(const Failure& failure) {
  for (const char* code : {"ERR_INPUT_SHAPE", "ERR_FORWARD", "ERR_OUTPUT_SHAPE", "ERR_LAYER_OUTPUT"}) {
    if (failure.code == code) return true;
  }
  return false;
}

RowRuns::RowRuns(ModelState& state,
                 const std::string& method,
                 int64_t most,
                 const c10::IValue& like,
                 int64_t images,
                 const Cancellation& cancellation)
    : state_(state),
      method_(method),
      most_(std::max<int64_t>(1, most)),
      images_(images),
      rowSizes_(rowSizesOf(like)),
      cancellation_(cancellation) {}

void RowRuns::over(int64_t total, const Run& run, const Use& use) const {
  for (int64_t first = 0; first < total;) {
    const int64_t count = std::min(state_.runsImagesAlone(method_) ? 1 : most_, total - first);
    if (count == 1) {
      oneByOne(run, use, first, 1);
    } else {
      cancellation_.throwIfCancelled();
      std::optional<c10::IValue> output;
      try {
        output = checked(run, first, count);
      } catch (const Failure& failure) {
        if (!mayBeOfRows(failure)) throw;
      }
      if (output) {
        use(*output, first, count);
      } else {
        oneByOne(run, use, first, count);
        state_.learnOneImage(method_);
      }
    }
    first += count;
  }
}

void RowRuns::oneByOne(const Run& run, const Use& use, int64_t first, int64_t count) const {
  for (int64_t row = first; row < first + count; ++row) {
    cancellation_.throwIfCancelled();
    try {
      use(checked(run, row, 1), row, 1);
    } catch (const Failure& failure) {
      if (images_ == 1 || failure.code != "ERR_INPUT_SHAPE") throw;
      throw Failure(failure.code,
                    std::string(failure.what()) + " (The model ran on the " + std::to_string(images_) +
                        " images that were given; this method runs it on other numbers of rows, which a file "
                        "whose trace holds its batch size does not take.)");
    }
  }
}

c10::IValue RowRuns::checked(const Run& run, int64_t first, int64_t count) const {
  c10::IValue output = run(first, count);
  checkRows(output, count);
  const auto sizes = rowSizesOf(output);
  if (!rowSizes_ || !sizes || *rowSizes_ == *sizes) return output;
  std::ostringstream message;
  message << "For " << count << (count == 1 ? " copy" : " copies") << " of an image the model gives "
          << output.toTensor().sizes() << ", and for the image itself rows of " << at::IntArrayRef(*rowSizes_)
          << ": what a row means depends on how many there are.";
  throw Failure("ERR_OUTPUT_SHAPE", message.str());
}

ImageCopies::ImageCopies(const Plan& plan,
                         const ModelInputs& inputs,
                         const OutputSelector& selector,
                         const c10::IValue& like)
    : inputs_(inputs), shared_(withoutRowsOfImages(inputs)) {
  const bool unclear = std::find(shared_.begin() + 1, shared_.end(), false) != shared_.end();
  const auto rowSizes = rowSizesOf(like);
  if (!unclear || !rowSizes) return;
  // Rows of prompts become more or fewer columns of the output; rows of images do not.
  const int64_t rows = inputs.count() == 1 ? 2 : 1;
  const auto fits = [&] {
    const at::NoGradGuard noGrad;
    try {
      const c10::IValue output = selectValue(runForward(plan, of(0, rows)), selector);
      return hasRows(output, rows) && rowSizesOf(output) == rowSizes;
    } catch (const Failure& failure) {
      if (!mayBeOfRows(failure)) throw;
      return false;
    }
  };
  if (fits()) return;
  const std::vector<bool> ofImages = shared_;
  for (std::size_t index = 1; index < shared_.size(); ++index) shared_[index] = true;
  if (fits()) return;
  shared_ = ofImages;  // whatever is wrong, the run itself says
}

ModelInputs ImageCopies::of(int64_t image, int64_t rows) const {
  std::vector<int64_t> sizes = inputs_.images().sizes().vec();
  sizes[0] = rows;
  return of(image, inputs_.images().narrow(0, image, 1).expand(sizes).contiguous());
}

ModelInputs ImageCopies::of(int64_t image, at::Tensor changed) const {
  const std::vector<int64_t> imageOfRow(static_cast<std::size_t>(changed.size(0)), image);
  return of(imageOfRow, std::move(changed));
}

ModelInputs ImageCopies::of(at::ArrayRef<int64_t> imageOfRow, at::Tensor changed) const {
  return inputs_.ofRows(imageOfRow, std::move(changed), shared_);
}

void throwNamingBatchSize(ModelState& state,
                          const std::string& method,
                          const ModelInputs& inputs,
                          const OutputSelector& selector,
                          const Failure& failure) {
  const int64_t images = inputs.images().dim() > 0 ? inputs.count() : 0;
  const auto exported = state.exportedBatch().value_or(0);
  const bool mayBeExported = exported > 1 && images > 0 && images != exported;
  if (images < 2 && !mayBeExported) throw failure;
  const auto plan = state.forwardPlan(method);
  const auto answer = [&](const ModelInputs& some) -> std::optional<c10::IValue> {
    try {
      return selectValue(runForward(*plan, some), selector);
    } catch (const Failure& other) {
      if (other.code == "ERR_OUT_OF_MEMORY") throw;
      return std::nullopt;
    }
  };
  const at::NoGradGuard noGrad;
  const auto together = answer(inputs);
  if (together && hasRows(*together, images)) throw failure;
  if (!together) state.checkImages(method, images, failure.what());
  const std::vector<bool> shared = withoutRowsOfImages(inputs);
  if (mayBeExported) {
    // So many, of what is given: does it take those?
    const std::vector<int64_t> rows(static_cast<std::size_t>(exported), 0);
    const auto filled =
        answer(inputs.ofRows(rows, inputs.images().narrow(0, 0, 1).repeat_interleave(exported, 0), shared));
    if (filled && hasRows(*filled, exported)) {
      state.learnExportedBatch();
      state.checkImages(method, images, failure.what());
    }
    if (images < 2) throw failure;
  }
  const auto alone = [&](int64_t image) {
    try {
      return inputs.ofRows(image, inputs.images().narrow(0, image, 1), shared);
    } catch (const Failure&) {
      throw failure;  // an argument may hold something for each image
    }
  };
  for (int64_t image = 0; image < images; ++image) {
    const auto own = answer(alone(image));
    if (!own || !hasRows(*own, 1)) throw failure;
  }
  state.learnOneImage(method);
  // Where it joined them, what failed has said so: they may be meant to be joined.
  if (!together) state.checkImages(method, images, failure.what());
  throw failure;
}

}  // namespace gradcam
