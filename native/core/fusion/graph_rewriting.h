#pragma once

#include <string>
#include <unordered_set>
#include <vector>

#include "api/plan_description.h"
#include "core/fusion/shared_weights.h"
#include "core/process/torch.h"

namespace gradcam {

// The one operation that uses a value, in the same block.
torch::jit::Node* onlyUser(const torch::jit::Value* value);

// The other term, where `node` adds a tensor of equal weight to `term`.
torch::jit::Value* otherTerm(const torch::jit::Node* node, const torch::jit::Value* term);

// A graph in which chains of operations become fused ones.
class GraphRewriter {
 public:
  GraphRewriter(const std::shared_ptr<torch::jit::Graph>& graph,
                SharedWeights& weights,
                PlanDescription& facts);

  // Something writes to it.
  bool isRewritten(const torch::jit::Value* value) const { return rewritten_.count(value) > 0; }
  SharedWeights& weights() { return weights_; }
  PlanDescription& facts() { return facts_; }

  // Puts in place of `chain`, where its last operation is, the operator `symbol` with `fused` in a capsule
  // and then `inputs`, of which null is none.
  template <typename Fused>
  void replace(const std::vector<torch::jit::Node*>& chain,
               c10::Symbol symbol,
               c10::intrusive_ptr<Fused> fused,
               std::vector<torch::jit::Value*> inputs) {
    const std::string name = fused->describe();
    replaceNamed(chain, symbol, name, c10::IValue::make_capsule(std::move(fused)), std::move(inputs));
  }

  // What the graph's last inputs are to be given on each run.
  std::vector<c10::IValue> takeCapsules() { return std::move(capsules_); }

 private:
  void replaceNamed(const std::vector<torch::jit::Node*>& chain,
                    c10::Symbol symbol,
                    const std::string& name,
                    c10::IValue capsule,
                    std::vector<torch::jit::Value*> inputs);

  torch::jit::Graph& graph_;
  std::unordered_set<const torch::jit::Value*> rewritten_;
  SharedWeights& weights_;
  PlanDescription& facts_;
  std::vector<c10::IValue> capsules_;
};

}  // namespace gradcam
