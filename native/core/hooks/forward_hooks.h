#pragma once

#include <optional>
#include <string>
#include <vector>

#include "api/target_layer.h"
#include "core/process/torch.h"

namespace gradcam {

// TorchScript modules have no hooks. This is what stands in for them: an operator that a Plan puts
// behind the call of a layer. It hands the layer's output to the hooks of the running thread and returns what
// the rest of the model goes on with.

// One captured call of a hooked layer.
struct LayerCall {
  int slot;       // which hooked layer
  int callIndex;  // 0 for the layer's first call in this forward
  // What it gave, or of that the chosen output: one. Of a feature pyramid its levels. None where there is no
  // tensor at the chosen output.
  std::vector<at::Tensor> maps;
  // What it gave, by names, where no tensor was chosen of a dictionary, list or tuple.
  std::optional<std::string> given = {};

  bool isPyramid() const { return given.has_value(); }  // also one of a single level
};

// The hooks of one forward on this thread, from construction to destruction. Grad mode is restored at the
// end.
class ForwardHooks {
 public:
  // What forward does with the outputs it sees.
  enum class Mode { Keep, KeepForGradient, ObserveShapes, Replace };

  explicit ForwardHooks(Mode mode, const std::vector<TargetLayer>& layers = {});
  ~ForwardHooks();
  ForwardHooks(const ForwardHooks&) = delete;
  ForwardHooks& operator=(const ForwardHooks&) = delete;

  // Replaces one call's output; everything else passes, without gradients.
  ForwardHooks(LayerCall replacement, const std::vector<TargetLayer>& layers);

  // Called by the operators.
  c10::IValue keepOutput(const c10::IValue& output, int slot, int callIndex, bool cloneForLaterWrites);
  c10::IValue recordFrom(const c10::IValue& argument) const;
  void observe(const c10::IValue& output, int slot, bool dependsOnInput);

  // Calls kept, in the order in which forward made them.
  const std::vector<LayerCall>& calls() const { return calls_; }
  // Shapes seen, in order; no value where the output was not a tensor.
  struct Observation {
    int slot;
    std::optional<std::vector<int64_t>> shape;
    std::vector<std::vector<int64_t>> shapesOfMaps;  // see mapsOf()
    // Where it is anything but a tensor, each tensor in it.
    std::vector<std::pair<OutputSelector, std::vector<int64_t>>> shapesOfParts;
    bool dependsOnInput;
  };
  const std::vector<Observation>& observations() const { return observations_; }

  static ForwardHooks* current();

 private:
  Mode mode_;
  at::AutoGradMode restoreGradMode_;
  ForwardHooks* outer_;
  std::vector<LayerCall> calls_;
  std::vector<OutputSelector> outputs_;  // of each slot the chosen one
  std::vector<int> callCounts_;
  std::vector<Observation> observations_;
  int nextCallIndex(int slot, int callIndex);
  bool isReplaced(int slot, int callIndex) const;

  LayerCall replacement_{-1, -1, {}};
};

// The operators.
const c10::Symbol& markSymbol();         // (t(a) output, int slot) -> t(a): a note for Plan, never run
const c10::Symbol& forwardHookSymbol();  // (t(a) output, int slot, int callIndex, bool clone) -> t(a)
const c10::Symbol& recordFromSymbol();   // (t(a) argument) -> t(a): gradients are recorded from here on
const c10::Symbol& observeSymbol();      // (Any output, int slot, bool depends_on_input) -> ()

}  // namespace gradcam
