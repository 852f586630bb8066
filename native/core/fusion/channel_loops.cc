#include "core/fusion/channel_loops.h"

#include <algorithm>

// Sanitizers are not ready when the loader chooses between clones.
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define GRADCAM_FOR_EACH_VECTOR_UNIT __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define GRADCAM_FOR_EACH_VECTOR_UNIT
#endif

namespace gradcam {
namespace {

constexpr int64_t kChannelsAtOnce = 64;

}  // namespace

GRADCAM_FOR_EACH_VECTOR_UNIT
void sumOfRows(const float* x, int64_t places, int64_t run, int64_t channels, float* sums) {
  for (int64_t first = 0; first < channels; first += kChannelsAtOnce) {
    const int64_t count = std::min(kChannelsAtOnce, channels - first);
    float total[kChannelsAtOnce] = {};
    for (int64_t start = 0; start < places; start += run) {
      float ofRun[kChannelsAtOnce] = {};
      const int64_t end = std::min(places, start + run);
      if (count == kChannelsAtOnce) {
        for (int64_t place = start; place < end; ++place) {
          const float* row = x + place * channels + first;
          for (int64_t c = 0; c < kChannelsAtOnce; ++c) ofRun[c] += row[c];
        }
      } else {
        for (int64_t place = start; place < end; ++place) {
          const float* row = x + place * channels + first;
          for (int64_t c = 0; c < count; ++c) ofRun[c] += row[c];
        }
      }
      for (int64_t c = 0; c < kChannelsAtOnce; ++c) total[c] += ofRun[c];
    }
    std::copy_n(total, count, sums + first);
  }
}

GRADCAM_FOR_EACH_VECTOR_UNIT
void addScaledRow(const float* __restrict row, float factor, int64_t channels, float* __restrict y) {
  for (int64_t c = 0; c < channels; ++c) y[c] += factor * row[c];
}

GRADCAM_FOR_EACH_VECTOR_UNIT
void scaleChannels(
    const float* x, int64_t places, int64_t channels, const float* __restrict factors, float* y) {
  for (int64_t place = 0; place < places; ++place) {
    const float* from = x + place * channels;
    float* to = y + place * channels;
#pragma GCC ivdep
    for (int64_t c = 0; c < channels; ++c) to[c] = from[c] * factors[c];
  }
}

GRADCAM_FOR_EACH_VECTOR_UNIT
void normalizeChannels(const float* x,
                       int64_t places,
                       int64_t channels,
                       const float* __restrict scale,
                       const float* __restrict shift,
                       float least,
                       float* __restrict y,
                       int64_t stride) {
  for (int64_t place = 0; place < places; ++place) {
    const float* from = x + place * channels;
    float* to = y + place * stride;
#pragma GCC ivdep
    for (int64_t c = 0; c < channels; ++c) {
      const float value = from[c] * scale[c] + shift[c];
      to[c] = value < least ? least : value;
    }
  }
}

}  // namespace gradcam
