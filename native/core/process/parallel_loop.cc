#include "core/process/parallel_loop.h"

namespace gradcam {

namespace {

// Of fewer numbers a second thread costs more than it takes over.
constexpr int64_t kLeastNumbers = 1 << 15;

}  // namespace

void parallelLoop(int64_t count, int64_t numbers, c10::function_ref<void(int64_t begin, int64_t end)> part) {
  if (count <= 0) return;
  const int64_t grain = kLeastNumbers / numbers + 1;
  if (count <= grain || at::get_num_threads() == 1) return part(0, count);
  // LibTorch's loop over a tensor of one byte for each step.
  const at::Tensor steps = at::empty({count}, at::kByte);
  auto* first = static_cast<char*>(steps.data_ptr());
  auto loop =
      at::TensorIteratorConfig().check_all_same_dtype(false).resize_outputs(false).add_output(steps).build();
  loop.for_each(
      [&](char** data, const int64_t*, int64_t size, int64_t) {
        const int64_t begin = data[0] - first;
        part(begin, begin + size);
      },
      grain);
}

}  // namespace gradcam
