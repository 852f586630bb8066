#pragma once

#include <vector>

#include "core/process/torch.h"

namespace gradcam {

// What a method of a model runs on, on the model's device. Whoever runs it on other images makes these
// inputs anew from the ones that were given, so that nothing that came with the images is lost.
struct ModelInputs {
  // In the order of the method's parameters that take tensors; the first is the images, and the others have a
  // row for each image, or belong to all of them.
  std::vector<at::Tensor> tensors;
  // By name, for the parameters that are no inputs of this kind: the same for all images.
  torch::jit::Kwargs arguments;

  const at::Tensor& images() const { return tensors.at(0); }
  int64_t count() const { return images().size(0); }

  // With other images, as many.
  ModelInputs with(at::Tensor images) const;
  // `rows` [R, ...] were each made of one of the images, `imageOfRow` [R]: with that image's part of the
  // other inputs, but for those that are `shared` by all images. Throws ERR_UNSUPPORTED where a tensor among
  // the arguments may have a row for each image.
  ModelInputs ofRows(at::ArrayRef<int64_t> imageOfRow,
                     at::Tensor rows,
                     const std::vector<bool>& shared) const;

  bool haveTensorArguments() const;
};

// The stack that the method wants, without the module: arguments by name, tensors in order to the other
// parameters that take them, then the method's own defaults. With `imageList` all tensors are the first
// parameter. Throws ERR_MODEL_ARGUMENTS.
torch::jit::Stack toStack(const c10::FunctionSchema& schema, const ModelInputs& inputs, bool imageList);

}  // namespace gradcam
