// How the plans of a model's methods are built.
#include <unordered_map>

#include "api/failure.h"
#include "core/fusion/batch_norm_folding.h"
#include "core/fusion/graph_optimization.h"
#include "core/fusion/plain_layout.h"
#include "core/graphs/frozen_graph.h"
#include "core/graphs/graph_split.h"
#include "core/graphs/guided_relu.h"
#include "core/graphs/in_place_writes.h"
#include "core/graphs/input_dependence.h"
#include "core/graphs/norm_gradients.h"
#include "core/graphs/opened_attention.h"
#include "core/graphs/token_order.h"
#include "core/hooks/forward_hooks.h"
#include "core/hooks/layer_marks.h"
#include "core/plan/plan.h"
#include "core/script/graph_walk.h"
#include "core/script/module_calls.h"
#include "core/script/module_facts.h"
#include "core/values/feature_maps.h"
#include "core/values/tensor_types.h"

namespace gradcam {
namespace {

using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

// The method's graph with every call inlined. A trace holds the shapes of its example, which other inputs do
// not have: as types, which would only mislead who reads a plan, and, of PyTorch 1, as sizes to which its
// broadcasts expand, which have to go before they become constants.
std::shared_ptr<Graph> graphOf(const torch::jit::Module& model,
                               const std::string& method,
                               const OnLayerOutput& onLayerOutput) {
  auto graph = inlineModuleCalls(model, method, onLayerOutput);
  torch::jit::RemoveExpands(graph);
  torch::jit::EraseShapeInformation(graph);
  return graph;
}

std::shared_ptr<Graph> graphOf(const torch::jit::Module& model, const std::string& method) {
  return graphOf(model, method, [](const std::string&, Value*, Node*) {});
}

bool isOnGpu(const torch::jit::Module& model) {
  const auto parameters = model.parameters();
  return parameters.size() > 0 && !(*parameters.begin()).is_cpu();
}

[[noreturn]] void throwNotCalled(const torch::jit::Module& model,
                                 const std::string& method,
                                 const std::string& path) {
  std::vector<std::string> inside;
  for (const auto& named : model.named_modules()) {
    if (named.name.rfind(path + ".", 0) == 0) inside.push_back(named.name);
  }
  std::string hint = inside.empty() ? "Choose a layer that " + method + " runs; inspect() tells which."
                                    : "It may only hold other layers: choose one inside it, such as '" +
                                          inside.back() + "'.";
  throw Failure("ERR_LAYER_NOT_CALLED",
                "Layer '" + path + "' exists, but the model's " + method + " never calls it. " + hint)
      .withLayer(path)
      .withAvailable(inside);
}

[[noreturn]] void throwOneTensor(const TargetLayer& layer) {
  throw Failure("ERR_LAYER_OUTPUT", "Layer '" + layer.path + "' gives one tensor, so there is no output " +
                                        describeSelector(layer.output) +
                                        " to choose: a trace keeps only those that are used. Leave "
                                        "`output` out.")
      .withLayer(layer.path);
}

// The one tensor beside other things (an LSTM's states, weights that were not asked for); none where there
// are several.
OutputSelector onlyTensorOf(const c10::TypePtr& type) {
  const auto tuple = type->cast<c10::TupleType>();
  if (!tuple) return {};
  OutputSelector found;
  for (std::size_t index = 0; index < tuple->elements().size(); ++index) {
    if (!isTensorType(tuple->elements()[index])) continue;
    if (!found.empty()) return {};
    found = {static_cast<int64_t>(index)};
  }
  return found;
}

int countBatchNorms(Graph& graph) {
  int count = 0;
  forEachNode(graph.block(),
              [&](const Node* node) { count += node->kind() == c10::aten::batch_norm ? 1 : 0; });
  return count;
}

// In a frozen file, whose modules are gone, the names of the graph's values stand for layers.
Value* valueNamed(Graph& graph, const std::string& name) {
  for (Node* node : graph.nodes()) {
    for (Value* output : node->outputs()) {
      if (output->debugName() == name) return output;
    }
  }
  return nullptr;
}

// Throws ERR_LAYER_OUTPUT and ERR_LAYER_NOT_CALLED. `otherOutputs` says of each layer what it gave that is
// not a tensor, if it did.
void checkMarks(Graph& graph,
                const torch::jit::Module& model,
                const std::string& method,
                const std::vector<TargetLayer>& layers,
                bool optional,
                const std::vector<std::string>& otherOutputs) {
  const auto marks = findMarks(graph, layers.size());
  for (std::size_t slot = 0; slot < layers.size(); ++slot) {
    const std::string& path = layers[slot].path;
    if (!otherOutputs[slot].empty()) {
      throw Failure("ERR_LAYER_OUTPUT",
                    "Layer '" + path + "' gives " + otherOutputs[slot] +
                        ", not a tensor. Say which tensor of it is meant, as in { path: '" + path +
                        "', output: 0 }, or choose a layer inside it.")
          .withLayer(path);
    }
    if (marks[slot].empty() && !optional) throwNotCalled(model, method, path);
  }
}

// The method's graph with marks behind the calls of the layers, which may be missing if they are `optional`.
// Where one tensor of what a layer gives can only be meant, the layer says so from then on.
std::shared_ptr<Graph> markLayers(const torch::jit::Module& model,
                                  const std::string& method,
                                  std::vector<TargetLayer>& layers,
                                  bool optional) {
  std::vector<std::string> otherOutputs(layers.size());
  auto graph = graphOf(model, method, [&](const std::string& path, Value* output, Node* behind) {
    for (std::size_t slot = 0; slot < layers.size(); ++slot) {
      TargetLayer& layer = layers[slot];
      if (layer.path != path) continue;
      const c10::TypePtr& type = output->type();
      if (isTensorType(type) && !layer.output.empty()) throwOneTensor(layer);
      if (layer.output.empty()) layer.output = onlyTensorOf(type);
      const bool chosen = !layer.output.empty();
      if (isTensorType(type) || (chosen ? mayHoldTensor(type) : isOfMaps(type))) {
        if (chosen) recordFromArguments(output->node());
        insertMark(output, static_cast<int>(slot), behind);
      } else {
        otherOutputs[slot] = type->repr_str();
      }
    }
  });
  for (std::size_t slot = 0; isFrozen(model) && slot < layers.size(); ++slot) {
    if (Value* value = valueNamed(*graph, layers[slot].path)) {
      if (!layers[slot].output.empty()) throwOneTensor(layers[slot]);
      insertMark(value, static_cast<int>(slot), value->node()->next());
    }
  }
  ownInputs(graph);
  checkMarks(*graph, model, method, layers, optional, otherOutputs);
  return graph;
}

// A frozen copy. Null where a mark would be gone: nothing uses the layer's output, or a branch that cannot be
// taken held it.
std::shared_ptr<Graph> frozenWithMarks(Graph& marked, const torch::jit::Module& model, std::size_t slots) {
  auto graph = marked.copy();
  freezeGraph(graph, model);
  const auto before = findMarks(marked, slots), after = findMarks(*graph, slots);
  for (std::size_t slot = 0; slot < slots; ++slot) {
    if (after[slot].size() != before[slot].size()) return nullptr;
  }
  return graph;
}

// A frozen graph with hooks, in the two parts that it runs in.
Plan::Parts cutAndOptimize(std::shared_ptr<Graph>& graph, PlanOptions options, SharedWeights& weights) {
  Plan::Parts parts;
  const int batchNorms = countBatchNorms(*graph);
  const bool mayFuseConvolutions = restorePlainLayouts(graph);
  SplitGraph split = splitGraph(graph, firstHook(*graph));
  if (!split.crossingValuesAlias)
    parts.capsules = optimizePrefix(split.prefix, mayFuseConvolutions, weights, parts.facts);
  if (options.secondDerivatives) {
    foldBatchNorms(split.tail);
  } else {
    const auto optimize = options.gradients ? optimizeTail : optimizePrefix;
    parts.tailCapsules = optimize(split.tail, mayFuseConvolutions, weights, parts.facts);
  }
  parts.facts.foldedBatchNorms = batchNorms - parts.facts.fusedBatchNorms - countBatchNorms(*split.prefix) -
                                 countBatchNorms(*split.tail);
  weights.shareConstants(*split.prefix);
  weights.shareConstants(*split.tail);
  parts.prefix = std::move(split.prefix);
  parts.tail = std::move(split.tail);
  return parts;
}

}  // namespace

std::shared_ptr<const Plan> Plan::keepOutputs(const torch::jit::Module& model,
                                              const std::string& method,
                                              std::vector<TargetLayer> layers,
                                              PlanOptions options,
                                              SharedWeights& weights) {
  auto graph = markLayers(model, method, layers, options.optionalLayers);
  // Where freezing loses a layer, the graph as it was tells what to say to the user.
  auto frozen = options.optimize ? frozenWithMarks(*graph, model, layers.size()) : nullptr;
  const bool inTwoParts = frozen != nullptr;
  if (inTwoParts) {
    graph = std::move(frozen);
  } else {
    foldSettings(graph, model);
  }
  // A GPU runs closed attention faster than what it stands for, which only gradients ask for.
  const bool closedPrefix = inTwoParts && isOnGpu(model);
  if (!closedPrefix) openSelfAttention(graph);
  removeInPlaceWrites(graph);
  placeHooks(graph, layers);
  auto unrolled = unrollStepsBeforeHooks(*graph, layers.size());
  Parts parts = inTwoParts ? cutAndOptimize(graph, options, weights) : Parts{.tail = std::move(graph)};
  if (options.gradients) {
    if (closedPrefix) openSelfAttention(parts.tail);
    if (options.secondDerivatives) openScaledDotProducts(parts.tail);
    layNormGradientsInRows(parts.tail);
  }
  parts.recordsGradients = options.gradients;
  parts.layers = std::move(layers);
  parts.layersAreOptional = options.optionalLayers;
  parts.unrolled = std::move(unrolled);
  return std::shared_ptr<const Plan>(new Plan(model, method, std::move(parts)));
}

std::shared_ptr<const Plan> Plan::observeOutputs(const torch::jit::Module& model,
                                                 const std::string& method,
                                                 const std::vector<std::string>& paths) {
  std::unordered_map<std::string, int> slots;
  for (const std::string& path : paths) slots.emplace(path, static_cast<int>(slots.size()));
  std::vector<Node*> observations;
  const auto observe = [&](const std::string& path, Value* output, Node* behind) {
    const auto slot = slots.find(path);
    if (slot == slots.end()) return;
    Graph& owner = *output->owningGraph();
    torch::jit::WithInsertPoint here(behind);
    Value* slotConstant = owner.insertConstant(slot->second);
    observations.push_back(owner.insertNode(owner.create(observeSymbol(), {output, slotConstant}, 0)));
  };
  auto graph = graphOf(model, method, observe);
  if (isFrozen(model)) {
    for (const std::string& path : paths) {
      if (Value* value = valueNamed(*graph, path)) observe(path, value, value->node()->next());
    }
  }
  const auto dependent = valuesOfInputs(*graph);
  for (Node* observation : observations) {
    const torch::jit::WithInsertPoint here(observation);
    observation->addInput(graph->insertConstant(dependent.count(observation->input(0)) > 0));
  }
  ownInputs(graph);
  return std::shared_ptr<const Plan>(new Plan(model, method, {.tail = std::move(graph)}));
}

std::shared_ptr<const Plan> Plan::keepAttention(const torch::jit::Module& model, const std::string& method) {
  auto graph = graphOf(model, method);
  openSelfAttention(graph);
  openScaledDotProducts(graph);
  ownInputs(graph);
  std::vector<Node*> softmaxes;
  forEachNode(graph->block(), [&](Node* node) {
    if (node->kind() == c10::aten::softmax) softmaxes.push_back(node);
  });
  if (softmaxes.empty()) {
    throw Failure("ERR_UNSUPPORTED",
                  "LeGrad needs attention, and this model's graph holds no softmax to take its gradient at. "
                  "Use GradCAM "
                  "with a reshapeTransform instead.");
  }
  std::vector<TargetLayer> layers;
  for (Node* node : softmaxes) {
    insertMark(node->output(), static_cast<int>(layers.size()), node->next());
    layers.push_back({"softmax " + std::to_string(layers.size()), CallKind::All});
  }
  removeInPlaceWrites(graph);
  placeHooks(graph, layers);
  layNormGradientsInRows(graph);
  return std::shared_ptr<const Plan>(new Plan(
      model, method, {.tail = std::move(graph), .layers = std::move(layers), .layersAreOptional = true}));
}

std::shared_ptr<const Plan> Plan::recorded(const torch::jit::Module& model,
                                           const std::string& method,
                                           bool guidedRelu) {
  auto graph = graphOf(model, method);
  ownInputs(graph);
  foldSettings(graph, model);
  openSelfAttention(graph);
  removeInPlaceWrites(graph);
  if (guidedRelu) replaceReluByGuidedRelu(graph);
  layNormGradientsInRows(graph);
  return std::shared_ptr<const Plan>(new Plan(model, method, {.tail = std::move(graph)}));
}

std::shared_ptr<const Plan> Plan::plain(const torch::jit::Module& model, const std::string& method) {
  auto graph = graphOf(model, method);
  ownInputs(graph);
  return std::shared_ptr<const Plan>(new Plan(model, method, {.prefix = std::move(graph)}));
}

std::shared_ptr<const Plan> Plan::withoutGradients(const torch::jit::Module& model,
                                                   const std::string& method,
                                                   SharedWeights& weights) {
  auto graph = graphOf(model, method);
  ownInputs(graph);
  freezeGraph(graph, model);
  if (!isOnGpu(model)) openSelfAttention(graph);
  removeInPlaceWrites(graph);
  Parts parts;
  parts.recordsGradients = false;
  const bool mayFuseConvolutions = restorePlainLayouts(graph);
  parts.capsules = optimizePrefix(graph, mayFuseConvolutions, weights, parts.facts);
  weights.shareConstants(*graph);
  parts.prefix = std::move(graph);
  return std::shared_ptr<const Plan>(new Plan(model, method, std::move(parts)));
}

}  // namespace gradcam
