#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "api/cancellation.h"
#include "api/output_tree.h"
#include "core/model/model_state.h"

namespace gradcam {

// Runs of a model on changed copies of one image: many rows at a time where the model takes them, else one.
// Files whose trace holds the batch size take one image only, and where BatchNorm takes its statistics from
// the batch, copies that run together change each other's scores.
class RowRuns {
 public:
  // `most` rows in a run. `like` is the explained output of `images` images as they are: each row must be
  // shaped as one of its rows.
  RowRuns(ModelState& state,
          const std::string& method,
          int64_t most,
          const c10::IValue& like,
          int64_t images,
          const Cancellation& cancellation);

  // Gives the explained output for rows `first` to `first + count`; no other effect.
  using Run = std::function<c10::IValue(int64_t first, int64_t count)>;
  using Use = std::function<void(const c10::IValue& output, int64_t first, int64_t count)>;
  // All of `total` rows. Where several fail, they run one by one, and the model remembers it if that works;
  // what fails for one row is that row's own failure.
  void over(int64_t total, const Run& run, const Use& use) const;

 private:
  c10::IValue checked(const Run& run, int64_t first, int64_t count) const;
  void oneByOne(const Run& run, const Use& use, int64_t first, int64_t count) const;

  ModelState& state_;
  const std::string& method_;
  const int64_t most_, images_;
  std::optional<std::vector<int64_t>> rowSizes_;  // none where the output is no tensor
  const Cancellation& cancellation_;
};

// A batch's inputs, of which copies of single images are made. An input whose first axis is not the images
// (the prompts of a CLIP) belongs to all of them.
class ImageCopies {
 public:
  // `like` is the explained output of the batch as it is. Where an input has as many rows as there are
  // images, a run tells whether they are the images'.
  ImageCopies(const Plan& plan,
              const ModelInputs& inputs,
              const OutputSelector& selector,
              const c10::IValue& like);

  // All inputs for `rows` copies of an image.
  ModelInputs of(int64_t image, int64_t rows) const;
  // All inputs for changed copies of an image, `changed` [rows, ...].
  ModelInputs of(int64_t image, at::Tensor changed) const;
  // The same of several images, row by row.
  ModelInputs of(at::ArrayRef<int64_t> imageOfRow, at::Tensor changed) const;
  // True for inputs that belong to all images.
  const std::vector<bool>& shared() const { return shared_; }
  bool haveTensorArguments() const { return inputs_.haveTensorArguments(); }

 private:
  const ModelInputs& inputs_;
  std::vector<bool> shared_;
};

// Whether a failure may be of the number of rows: of a shape, or the model's own.
bool mayBeOfRows(const Failure& failure);

// Throws the failure, or what it means: see namingBatchSize().
[[noreturn]] void throwNamingBatchSize(ModelState& state,
                                       const std::string& method,
                                       const ModelInputs& inputs,
                                       const OutputSelector& selector,
                                       const Failure& failure);

// Gives what `work` gives. Where it fails and it is because the model does not take so many images at once,
// says so: finds out by running each image alone, and the model remembers it. `inputs` are prepared.
template <typename Work>
auto namingBatchSize(ModelState& state,
                     const std::string& method,
                     const ModelInputs& inputs,
                     const OutputSelector& selector,
                     const Work& work) {
  std::optional<Failure> failed;
  try {
    return work();
  } catch (const Failure& failure) {
    if (!mayBeOfRows(failure)) throw;
    failed = failure;
  }
  throwNamingBatchSize(state, method, inputs, selector, *failed);
}

}  // namespace gradcam
