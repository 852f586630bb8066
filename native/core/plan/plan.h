#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "api/counted.h"
#include "api/plan_description.h"
#include "api/reshape_transform.h"
#include "api/target_layer.h"
#include "core/fusion/shared_weights.h"
#include "core/process/torch.h"
#include "core/script/layer_weights.h"
#include "core/script/model_inputs.h"

namespace gradcam {

struct PlanOptions {
  bool optimize = true;            // freeze the graph, and split it into a prefix and a tail
  bool gradients = true;           // else the tail is optimised as the prefix is, and nothing records it
  bool secondDerivatives = false;  // write out attention behind the hook, for closed it has only first ones
  bool optionalLayers = false;     // layers may be left out, never called or in a branch not taken
};

// How a method of a model, usually forward, is run with hooks behind chosen layers: a prefix up to the first
// hooked layer, without gradients and optimised for that, and a tail, whose operations autograd records.
// Built from copies of the model's graphs; the model stays as it was. May be run by several threads at once.
class Plan : public Counted<Plan> {
 public:
  struct Parts {
    std::shared_ptr<torch::jit::Graph> prefix = {};  // null: everything is the tail
    std::shared_ptr<torch::jit::Graph> tail = {};    // null: everything is the prefix
    std::vector<TargetLayer> layers = {};
    bool layersAreOptional = false;              // a run may leave them out
    bool recordsGradients = true;                // from the first hook on
    std::vector<c10::IValue> capsules = {};      // the prefix's inputs after the model's own
    std::vector<c10::IValue> tailCapsules = {};  // the tail's inputs after the crossing values
    PlanDescription facts = {};                  // what describe() cannot see in the graphs
    std::vector<std::vector<UnrollStep>> unrolled = {};
  };

  // Keeps the outputs of `layers` (slot = position in the list) for activations and gradients. Without
  // `optimize` the whole forward is the tail, and gradients start where the first hook is. Throws
  // ERR_LAYER_NOT_CALLED and ERR_LAYER_OUTPUT.
  static std::shared_ptr<const Plan> keepOutputs(const torch::jit::Module& model,
                                                 const std::string& method,
                                                 std::vector<TargetLayer> layers,
                                                 PlanOptions options,
                                                 SharedWeights& weights);
  // Observes the output of every layer in `paths` (slot = position in the list); those never called are no
  // error.
  static std::shared_ptr<const Plan> observeOutputs(const torch::jit::Module& model,
                                                    const std::string& method,
                                                    const std::vector<std::string>& paths);
  // No hooks: the method as it is written, which autograd can record.
  static std::shared_ptr<const Plan> plain(const torch::jit::Module& model, const std::string& method);
  // No hooks and no gradients: the whole method optimised.
  static std::shared_ptr<const Plan> withoutGradients(const torch::jit::Module& model,
                                                      const std::string& method,
                                                      SharedWeights& weights);

  // Keeps the results of every softmax (slot = position in the graph), with fused attention written out.
  // Nothing is frozen or split. Throws ERR_UNSUPPORTED where there is none.
  static std::shared_ptr<const Plan> keepAttention(const torch::jit::Module& model,
                                                   const std::string& method);
  // No hooks: the whole forward as autograd can record it, with guided ReLUs if asked for.
  static std::shared_ptr<const Plan> recorded(const torch::jit::Module& model,
                                              const std::string& method,
                                              bool guidedRelu);

  const std::vector<TargetLayer>& layers() const { return parts_.layers; }
  bool layersAreOptional() const { return parts_.layersAreOptional; }
  bool recordsGradients() const { return parts_.recordsGradients; }
  const LayerWeights& weightsOf(int slot) const { return weights_.at(static_cast<std::size_t>(slot)); }
  // What brought the tokens of a layer into another order than that of rows.
  const std::vector<UnrollStep>& unrolledBefore(int slot) const {
    return parts_.unrolled.at(static_cast<std::size_t>(slot));
  }

  // The values that the tail needs. Grad mode is the caller's. Throws ERR_MODEL_ARGUMENTS.
  torch::jit::Stack runPrefix(const ModelInputs& inputs) const;
  // The same of a method's parameters as they are, without the module; those left out at the end have
  // defaults.
  torch::jit::Stack runPrefix(torch::jit::Stack parameters) const;
  // The model's output, with the hooks of this thread (see ForwardHooks). May be run any number of times on
  // the result of one prefix.
  c10::IValue runTail(torch::jit::Stack crossing) const;

  // The tail's operators that have no derivative at all, "quantized::linear_dynamic", which autograd passes
  // over without a word.
  std::vector<std::string> withoutDerivative() const;

  // True where the tail changes some of the values it is given: then each run needs copies of its own.
  bool tailWrites() const { return tailWrites_; }

  PlanDescription describe() const;

 private:
  Plan(const torch::jit::Module& model, const std::string& method, Parts parts);
  const c10::FunctionSchema& schema() const;
  c10::IValue modelForOneRun(const c10::IValue& model) const;

  torch::jit::Module model_;
  std::string method_;
  bool takesImageList_;
  Parts parts_;
  torch::jit::Code prefix_;
  torch::jit::Code tail_;
  std::set<std::string> writtenAttributes_;  // of the model, which each run has copies of
  std::vector<LayerWeights> weights_;        // of each layer
  bool tailWrites_ = false;
};

}  // namespace gradcam
