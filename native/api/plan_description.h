#pragma once

#include <cstddef>
#include <string>

namespace gradcam {

// A plan in numbers and words, for debugging. A part that does not exist has no nodes.
struct PlanDescription {
  struct Part {
    int nodes = 0;
    std::string graph;  // as LibTorch prints graphs
  };
  Part prefix;  // runs without gradients
  Part tail;    // recorded by autograd
  int crossingValues = 0;
  bool reducedPrecision = false;  // what runs without gradients is computed in bfloat16
  int foldedBatchNorms = 0;
  int fusedConvolutions = 0;
  int fusedLinears = 0;
  int fusedBatchNorms = 0;  // of their own, with the concatenation before and the ReLU behind them
  int fusedOperations = 0;  // additions, factors and activations inside of the fused
};

// Plans that models or jobs of the process hold.
std::size_t livePlans();

}  // namespace gradcam
