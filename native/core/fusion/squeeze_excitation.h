#pragma once

#include <memory>
#include <vector>

#include "core/fusion/fused_convolution.h"
#include "core/process/torch.h"

namespace gradcam {

// x * gate(expand(squeeze(mean of x over its places))): a squeeze-and-excitation block (Hu et al. 2018, eq. 2
// to 4) behind the convolution whose result it scales, without gradients. As operators of their own its six
// steps cost more in calls than in arithmetic. Several threads may run it.
class SqueezeExcitation final : public torch::CustomClassHolder {
 public:
  using Convolution = c10::intrusive_ptr<const FusedConvolution>;

  // `squeeze` and `expand` are what isPointwise() is true of. `ownsInput`: nothing else reads what it scales.
  SqueezeExcitation(Convolution squeeze, Convolution expand, bool ownsInput, SharedWeights& weights);

  // `x` is [N, C, H, W].
  at::Tensor run(const at::Tensor& x) const;

 private:
  // One of the two layers as a matrix: [in, out], so that it is read in order, and the addend.
  struct Layer {
    Convolution convolution;
    at::Tensor matrix;
    at::Tensor bias;  // [out]
    Layer(Convolution convolution, SharedWeights& weights);
    at::Tensor run(const at::Tensor& rows) const;
  };

  bool canRun(const at::Tensor& x) const;

  const Layer squeeze_;
  const Layer expand_;
  const bool ownsInput_;
};

// Makes one operation of each such block in a graph whose convolutions are fused already. `capsules`, to
// which it adds, are what the graph's last inputs are given.
void fuseSqueezeExcitations(torch::jit::Graph& graph,
                            std::vector<c10::IValue>& capsules,
                            SharedWeights& weights);

}  // namespace gradcam
