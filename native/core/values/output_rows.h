#pragma once

#include "core/process/torch.h"

namespace gradcam {

// What of a model's output belongs to which image.

// Throws ERR_OUTPUT_SHAPE where the output does not have a part for each of so many images. A number without
// axes is that of one image.
void checkRows(const c10::IValue& output, int64_t images);

// The part of a model's output that belongs to one image: of a tensor its row, of a list its element.
c10::IValue outputOfImage(const c10::IValue& output, int64_t image);

// The same of `count` images from `first` on, as an output of its own.
c10::IValue outputOfImages(const c10::IValue& output, int64_t first, int64_t count);

// Whether the output is a row of classes for each image, [images, classes].
bool givesClasses(const c10::IValue& output, int64_t images);

}  // namespace gradcam
