#include "core/process/intra_op_threads.h"

#include "core/process/torch.h"

namespace gradcam {

int intraOpThreads() {
  return at::get_num_threads();
}

void setIntraOpThreads(int count) {
  at::set_num_threads(count);
}

}  // namespace gradcam
