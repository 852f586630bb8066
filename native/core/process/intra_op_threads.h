#pragma once

namespace gradcam {

// Threads that LibTorch uses inside one operation. Its first count knows the affinity and OMP_NUM_THREADS.
int intraOpThreads();
// With OpenMP a setting of the calling thread alone.
void setIntraOpThreads(int count);

}  // namespace gradcam
