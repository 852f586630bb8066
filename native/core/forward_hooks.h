#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/torch.h"

namespace gradcam {

// TorchScript modules have no hooks. This is what stands in for them: an operator that a Plan puts
// behind the call of a layer. It hands the layer's output to the hooks of the running thread and returns what
// the rest of the model goes on with.

// One captured call of a hooked layer.
struct LayerCall {
  int slot;       // which hooked layer
  int callIndex;  // 0 for the layer's first call in this forward
  at::Tensor activation;
  std::vector<at::Tensor> maps;  // instead of it, where the layer gives several: a feature pyramid
};

// The hooks of one forward on this thread, from construction to destruction. Grad mode is restored at the
// end.
class ForwardHooks {
 public:
  // What forward does with the outputs it sees.
  enum class Mode { KeepForGradient, ObserveShapes, Replace };

  ForwardHooks(Mode mode, std::size_t slots);
  ~ForwardHooks();
  ForwardHooks(const ForwardHooks&) = delete;
  ForwardHooks& operator=(const ForwardHooks&) = delete;

  // Replaces one call's output; everything else passes, without gradients.
  ForwardHooks(LayerCall replacement, std::size_t slots);

  // Called by the operators.
  at::Tensor keep(at::Tensor output, int slot, int callIndex, bool cloneForLaterWrites);
  c10::IValue keepMaps(const c10::IValue& output, int slot, int callIndex);
  void observe(const c10::IValue& output, int slot, bool dependsOnInput);

  // Calls kept, in the order in which forward made them.
  const std::vector<LayerCall>& calls() const { return calls_; }
  // Shapes seen, in order; no value where the output was not a tensor.
  struct Observation {
    int slot;
    std::optional<std::vector<int64_t>> shape;
    std::vector<std::vector<int64_t>> shapesOfMaps;  // where the output is several tensors
    bool dependsOnInput;
  };
  const std::vector<Observation>& observations() const { return observations_; }

  static ForwardHooks* current();

 private:
  Mode mode_;
  at::AutoGradMode restoreGradMode_;
  ForwardHooks* outer_;
  std::vector<LayerCall> calls_;
  std::vector<int> callCounts_;
  std::vector<Observation> observations_;
  int nextCallIndex(int slot, int callIndex);
  bool isReplaced(int slot, int callIndex) const;

  LayerCall replacement_{-1, -1, {}, {}};
};

// Operator names, unique to this copy of the addon: two copies in one process must not see each other's
// hooks.
const c10::Symbol& markSymbol();         // (t(a) output, int slot) -> t(a): a note for Plan, never run
const c10::Symbol& forwardHookSymbol();  // (t(a) output, int slot, int callIndex, bool clone) -> t(a)
const c10::Symbol& observeSymbol();      // (Any output, int slot, bool depends_on_input) -> ()

}  // namespace gradcam
