#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/torch.h"

namespace gradcam {

// Which call counts where forward calls a layer more than once.
struct CallChoice {
  enum class Kind { Last, All, Index } kind = Kind::Last;
  int index = 0;  // for Kind::Index: 0 is the first call
};

struct HookedLayer {
  std::string path;
  CallChoice call;
};

// A model's forward as one straight graph with hooks behind the calls of chosen layers, ready to run from any
// thread. Built from copies of the graphs: the model stays as it was.
class HookedGraph {
 public:
  // Keeps the outputs of `layers` (slot = position in the list) for activations and gradients.
  // Throws ERR_LAYER_NOT_CALLED and ERR_LAYER_OUTPUT.
  static std::shared_ptr<const HookedGraph> keepOutputs(const torch::jit::Module& model,
                                                        std::vector<HookedLayer> layers);
  // Observes the output of every layer in `paths` (slot = position in the list); those never called are no
  // error.
  static std::shared_ptr<const HookedGraph> observeOutputs(const torch::jit::Module& model,
                                                           const std::vector<std::string>& paths);
  // No hooks: the plain forward.
  static std::shared_ptr<const HookedGraph> plain(const torch::jit::Module& model);

  const std::vector<HookedLayer>& layers() const { return layers_; }

  // Runs forward with the hooks of this thread, see ForwardHooks. Grad mode is the caller's.
  c10::IValue run(const std::vector<c10::IValue>& inputs) const;

 private:
  HookedGraph(const torch::jit::Module& model,
              std::shared_ptr<torch::jit::Graph> graph,
              std::vector<HookedLayer>);

  torch::jit::Module model_;
  torch::jit::Code code_;
  std::vector<HookedLayer> layers_;
};

}  // namespace gradcam
