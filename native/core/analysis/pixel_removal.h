#pragma once

#include <cstdint>
#include <optional>

#include "core/process/torch.h"

namespace gradcam {

// Which pixels stay, [...space] of bool. With a percentile the least relevant pixels: as many as lie strictly
// below it where all values differ; among equal values the first in row-major order stay. Without one, Otsu's
// threshold of the map in 256 steps decides, and what is at most the threshold stays.
at::Tensor pixelsToKeep(const at::Tensor& relevance, std::optional<double> percentile);

// ROAD's noisy linear imputer (Rong et al. 2022, section 4.2): every missing pixel becomes the weighted mean
// of its eight neighbours (1/6 beside, 1/12 across), all solved at once in float64, plus noise times normal
// numbers. Where nothing is kept, the channel's mean fills in. `image` is [C, H, W].
at::Tensor imputePixels(const at::Tensor& image, const at::Tensor& keep, double noise, int64_t seed);

}  // namespace gradcam
