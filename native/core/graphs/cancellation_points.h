#pragma once

#include "core/process/torch.h"

namespace gradcam {

// In every loop of the graph a look at the cancellation of the job that runs it (see Cancellation). Elsewhere
// operations look as they take memory, which a loop that only counts or writes in place never does. For
// graphs that are analysed no more: to alias analysis the operator may write to anything.
void insertCancellationPoints(torch::jit::Graph& graph);

}  // namespace gradcam
