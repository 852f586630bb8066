#pragma once

#include <cstdint>

namespace gradcam {

// Loops over channels-last float32 data, compiled for each kind of vector unit and chosen by the processor
// that runs them. No two arguments of one call overlap.

// sums[c] = sum of the `places` rows x[place * channels + c]. Summed in runs of `run`
// rows, so that many places lose little to rounding.
void sumOfRows(const float* x, int64_t places, int64_t run, int64_t channels, float* sums);

// y[c] += factor * row[c].
void addScaledRow(const float* row, float factor, int64_t channels, float* y);

// y[place * channels + c] = x[place * channels + c] * factors[c]; y may be x.
void scaleChannels(const float* x, int64_t places, int64_t channels, const float* factors, float* y);

// y[place * stride + c] = x[place * channels + c] * scale[c] + shift[c], or `least` where that is less; NaN
// stays NaN.
void normalizeChannels(const float* x,
                       int64_t places,
                       int64_t channels,
                       const float* scale,
                       const float* shift,
                       float least,
                       float* y,
                       int64_t stride);

}  // namespace gradcam
