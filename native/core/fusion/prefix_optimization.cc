#include "core/fusion/prefix_optimization.h"

#include <unordered_set>

#include "core/fusion/batch_norm_folding.h"
#include "core/fusion/fused_convolution.h"
#include "core/fusion/fused_linear.h"
#include "core/fusion/plain_layout.h"
#include "core/fusion/recorded_convolution.h"
#include "core/fusion/recorded_linear.h"
#include "core/fusion/squeeze_excitation.h"
#include "core/script/graph_walk.h"
#include "core/script/operator_arguments.h"

namespace gradcam {
namespace {

using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::toIValue;
using torch::jit::Value;

// The two numbers of an argument such as stride, which may be given as one.
std::optional<std::vector<int64_t>> pairArgument(const Node* node, const char* name) {
  const auto value = constantInput(node, name);
  if (!value || !value->isIntList()) return std::nullopt;
  std::vector<int64_t> pair = value->toIntVector();
  if (pair.size() == 1) pair.push_back(pair.front());
  if (pair.size() != 2) return std::nullopt;
  return pair;
}

bool canFuseWith(const at::Tensor& weight) {
  const at::ScalarType type = weight.scalar_type();
  if (weight.is_cpu()) return type == at::kFloat && FusedConvolution::available();
  const bool known = type == at::kFloat || type == at::kHalf || type == at::kBFloat16;
  return weight.is_cuda() && known && FusedConvolution::availableOnGpu();
}

// The parameters of a convolution of images with constant weights; none for every other node.
std::optional<FusedConvolution::Parameters> convolutionParameters(const Node* node) {
  const bool written = node->matches(
      "aten::conv2d(Tensor input, Tensor weight, Tensor? bias=None, int[2] stride=1, int[2] padding=0, "
      "int[2] "
      "dilation=1, int groups=1) -> Tensor");
  if (!written && node->kind() != c10::aten::_convolution) return std::nullopt;
  if (!written && constantInput(node, "transposed") != c10::IValue(false)) return std::nullopt;

  const auto weight = constantInput(node, "weight");
  const auto bias = constantInput(node, "bias");
  const auto groups = constantInput(node, "groups");
  const auto stride = pairArgument(node, "stride");
  const auto padding = pairArgument(node, "padding");
  const auto dilation = pairArgument(node, "dilation");
  if (!weight || !weight->isTensor() || !bias || !groups || !stride || !padding || !dilation)
    return std::nullopt;
  const at::Tensor& kernel = weight->toTensor();
  if (kernel.dim() != 4 || !canFuseWith(kernel)) return std::nullopt;
  return FusedConvolution::Parameters{
      kernel.detach(), bias->toOptional<at::Tensor>(), *stride, *padding, *dilation, groups->toInt()};
}

// The one operation that uses a value, in the same block.
Node* onlyUser(const Value* value) {
  if (value->uses().size() != 1) return nullptr;
  Node* user = value->uses()[0].user;
  return user->owningBlock() == value->node()->owningBlock() ? user : nullptr;
}

// The other term, where `node` adds a tensor of equal weight to `term`.
Value* otherTerm(const Node* node, const Value* term) {
  if (!node->matches("aten::add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor"))
    return nullptr;
  const auto alpha = toIValue(node->input(2));
  if (!alpha || !alpha->isInt() || alpha->toInt() != 1) return nullptr;
  if (node->input(0) == node->input(1)) return nullptr;
  return node->input(0) == term ? node->input(1) : node->input(0);
}

// What a BatchNorm in evaluation mode with constant statistics amounts to.
std::optional<FoldedBatchNorm> batchNormOf(const Node* node, const Value* input) {
  if (node->kind() != c10::aten::batch_norm || node->namedInput("input") != input) return std::nullopt;
  const auto mean = constantInput(node, "running_mean");
  const auto variance = constantInput(node, "running_var");
  const auto weight = constantInput(node, "weight");
  const auto bias = constantInput(node, "bias");
  const auto epsilon = constantInput(node, "eps");
  if (constantInput(node, "training") != c10::IValue(false) || !epsilon || !weight || !bias)
    return std::nullopt;
  if (!mean || !mean->isTensor() || !variance || !variance->isTensor()) return std::nullopt;
  return FoldedBatchNorm::of(mean->toTensor(), variance->toTensor(), weight->toOptional<at::Tensor>(),
                             bias->toOptional<at::Tensor>(), epsilon->toDouble());
}

struct Fusion {
  std::vector<Node*> replaced;  // the convolution and what follows it
  std::optional<FoldedBatchNorm> batchNorm;
  Value* added = nullptr;
  FusedActivation activation;
  bool inRows = false;  // the result must not stay channels-last
};

// `rewritten` are the tensors that something writes to. Where autograd records it, only ReLU's derivative is
// told by its result.
Fusion findFusion(Node* convolution,
                  bool inputIsRewritten,
                  const std::unordered_set<const Value*>& rewritten,
                  bool recorded) {
  Fusion fusion;
  fusion.replaced.push_back(convolution);
  // The primitive runs where the last replaced operation was: nothing may have changed the input until then.
  if (inputIsRewritten) return fusion;
  const auto next = [&] { return onlyUser(fusion.replaced.back()->output()); };
  if (Node* user = next(); user && user->kind() == plainLayoutSymbol()) {
    fusion.inRows = true;
    fusion.replaced.push_back(user);
  }
  if (Node* user = next()) {
    fusion.batchNorm = batchNormOf(user, fusion.replaced.back()->output());
    if (fusion.batchNorm) fusion.replaced.push_back(user);
  }
  if (Node* user = next()) {
    Value* other = otherTerm(user, fusion.replaced.back()->output());
    if (other != nullptr && rewritten.count(other) > 0) return fusion;  // it is to be read now, not later
    if (other != nullptr) {
      fusion.added = other;
      fusion.replaced.push_back(user);
    }
  }
  if (Node* user = next()) {
    if (const auto activation = FusedActivation::of(user);
        activation && (!recorded || activation->name == "relu")) {
      fusion.activation = *activation;
      fusion.replaced.push_back(user);
    }
  }
  return fusion;
}

Node* insertFused(Graph& graph, Node* before, c10::Symbol symbol, at::ArrayRef<Value*> inputs) {
  torch::jit::WithInsertPoint here(before);
  return graph.insertNode(graph.create(symbol, inputs, 1));
}

class Optimizer {
 public:
  Optimizer(Graph& graph,
            std::unordered_set<const Value*> rewritten,
            SharedWeights& weights,
            PlanDescription& facts,
            bool recorded)
      : graph_(graph),
        rewritten_(std::move(rewritten)),
        weights_(weights),
        facts_(facts),
        recorded_(recorded) {}

  void fuseConvolution(Node* node) {
    const Fusion fusion = findFusion(node, rewritten_.count(node->input(0)) > 0, rewritten_, recorded_);
    const auto& [replaced, batchNorm, ofSum, activation, inRows] = fusion;
    const auto parameters = *convolutionParameters(node);
    Value* handle = recorded_ ? addCapsule(c10::make_intrusive<RecordedConvolution>(
                                    parameters, batchNorm, activation, inRows, weights_))
                              : addCapsule(c10::make_intrusive<FusedConvolution>(
                                    parameters, batchNorm, activation, inRows, weights_));
    Node* last = fusion.replaced.back();
    Value* added = fusion.added;
    if (added == nullptr) {
      torch::jit::WithInsertPoint here(last);
      added = graph_.insertConstant(c10::IValue());
    }
    const int notCounted = 1 + (batchNorm ? 1 : 0) + (inRows ? 1 : 0);
    facts_.fusedOperations += static_cast<int>(replaced.size()) - notCounted;
    const auto symbol = recorded_ ? recordedConvolutionSymbol() : fusedConvolutionSymbol();
    replaceChain(replaced, insertFused(graph_, last, symbol, {handle, node->input(0), added}));
    ++facts_.fusedConvolutions;
  }

  void fuseLinear(Node* node) {
    const at::Tensor weight = constantInput(node, "weight")->toTensor().detach();
    const auto bias = constantInput(node, "bias")->toOptional<at::Tensor>();
    ++facts_.fusedLinears;
    if (recorded_) {
      Value* handle = addCapsule(c10::make_intrusive<RecordedLinear>(weight, bias, weights_));
      replaceChain({node}, insertFused(graph_, node, recordedLinearSymbol(), {handle, node->input(0)}));
      return;
    }
    std::vector<Node*> chain = {node};
    FusedActivation activation;
    Node* user = rewritten_.count(node->input(0)) > 0 ? nullptr : onlyUser(node->output());
    if (user != nullptr) {
      if (const auto found = FusedActivation::of(user)) {
        activation = *found;
        chain.push_back(user);
      }
    }
    Value* handle = addCapsule(c10::make_intrusive<FusedLinear>(weight, bias, activation, weights_));
    replaceChain(chain, insertFused(graph_, chain.back(), fusedLinearSymbol(), {handle, node->input(0)}));
    facts_.fusedOperations += static_cast<int>(chain.size()) - 1;
  }

  std::vector<c10::IValue> takeCapsules() { return std::move(capsules_); }

 private:
  template <typename Operation>
  Value* addCapsule(c10::intrusive_ptr<Operation> object) {
    Value* handle = graph_.addInput(object->describe());
    handle->setType(c10::CapsuleType::get());
    capsules_.push_back(c10::IValue::make_capsule(std::move(object)));
    return handle;
  }

  void replaceChain(const std::vector<Node*>& chain, Node* by) {
    if (rewritten_.count(chain.back()->output()) > 0) rewritten_.insert(by->output());
    chain.back()->output()->replaceAllUsesWith(by->output());
    for (auto node = chain.rbegin(); node != chain.rend(); ++node) (*node)->destroy();
  }

  Graph& graph_;
  std::unordered_set<const Value*> rewritten_;
  SharedWeights& weights_;
  PlanDescription& facts_;
  const bool recorded_;
  std::vector<c10::IValue> capsules_;
};

// A matrix product with constant float32 weights on the CPU.
bool isConstantLinear(const Node* node) {
  if (!node->matches("aten::linear(Tensor input, Tensor weight, Tensor? bias=None) -> Tensor")) return false;
  const auto weight = constantInput(node, "weight");
  if (!weight || !weight->isTensor() || !constantInput(node, "bias")) return false;
  const at::Tensor& matrix = weight->toTensor();
  return matrix.dim() == 2 && matrix.scalar_type() == at::kFloat && matrix.is_cpu();
}

}  // namespace

bool isFusableConvolution(const Node* node) {
  return convolutionParameters(node).has_value();
}

namespace {

std::vector<c10::IValue> fuseOperations(std::shared_ptr<Graph>& graph,
                                        bool mayFuseConvolutions,
                                        SharedWeights& weights,
                                        PlanDescription& facts,
                                        bool recorded) {
  std::vector<Node*> convolutions, linears;
  std::unordered_set<const Value*> rewritten;
  {
    const torch::jit::AliasDb aliases(graph);
    forEachNode(graph->block(), [&](Node* node) {
      for (const Value* output : node->outputs()) {
        if (aliases.hasWriters(output)) rewritten.insert(output);
      }
      if (mayFuseConvolutions && isFusableConvolution(node)) convolutions.push_back(node);
      if (FusedLinear::available() && isConstantLinear(node)) linears.push_back(node);
    });
    for (const Value* input : graph->inputs()) {
      if (aliases.hasWriters(input)) rewritten.insert(input);
    }
  }
  Optimizer optimizer(*graph, std::move(rewritten), weights, facts, recorded);
  for (Node* node : convolutions) optimizer.fuseConvolution(node);
  for (Node* node : linears) optimizer.fuseLinear(node);
  torch::jit::EliminateDeadCode(graph);
  foldBatchNorms(graph);  // those that oneDNN cannot take
  return optimizer.takeCapsules();
}

}  // namespace

std::vector<c10::IValue> optimizePrefix(std::shared_ptr<Graph>& graph,
                                        bool mayFuseConvolutions,
                                        SharedWeights& weights,
                                        PlanDescription& facts) {
  auto capsules = fuseOperations(graph, mayFuseConvolutions, weights, facts, /*recorded=*/false);
  fuseSqueezeExcitations(*graph, capsules, weights);
  return capsules;
}

std::vector<c10::IValue> optimizeTail(std::shared_ptr<Graph>& graph,
                                      bool mayFuseConvolutions,
                                      SharedWeights& weights,
                                      PlanDescription& facts) {
  const bool onCpu = !anyNode(graph->block(), [](const Node* node) {
    const auto constant = node->kind() == c10::prim::Constant ? toIValue(node->output()) : std::nullopt;
    return constant && constant->isTensor() && constant->toTensor().defined() &&
           !constant->toTensor().is_cpu();
  });
  return fuseOperations(graph, mayFuseConvolutions && onCpu && RecordedConvolution::available(), weights,
                        facts,
                        /*recorded=*/true);
}

}  // namespace gradcam
