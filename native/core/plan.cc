#include "core/plan.h"

#include <algorithm>
#include <functional>
#include <mutex>
#include <unordered_map>

#include "core/attention.h"
#include "core/failure.h"
#include "core/feature_maps.h"
#include "core/forward_hooks.h"
#include "core/frozen_graph.h"
#include "core/graph_split.h"
#include "core/graph_walk.h"
#include "core/guided_relu.h"
#include "core/image_list.h"
#include "core/in_place_writes.h"
#include "core/model_state.h"
#include "core/module_calls.h"
#include "core/plain_layout.h"
#include "core/prefix_optimization.h"

namespace gradcam {
namespace {

using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

// A note behind each call of one hooked layer, in program order, until it is known what hook belongs there.
struct LayerMarks {
  std::vector<Node*> marks;
};

void insertMark(Value* output, int slot, Node* behind) {
  Graph& graph = *output->owningGraph();
  torch::jit::WithInsertPoint here(behind);
  Value* slotConstant = graph.insertConstant(slot);
  Node* mark = graph.insertNode(graph.create(markSymbol(), {output, slotConstant}, 1));
  mark->output()->setType(output->type());
  output->replaceAllUsesAfterNodeWith(mark, mark->output());
}

void removeMark(Node* mark) {
  mark->output()->replaceAllUsesWith(mark->input(0));
  mark->destroy();
}

void replaceMarkByHook(Node* mark, int callIndex, bool cloneForLaterWrites) {
  Graph& graph = *mark->owningGraph();
  torch::jit::WithInsertPoint here(mark);
  Value* index = graph.insertConstant(callIndex);
  Value* clone = graph.insertConstant(cloneForLaterWrites);
  Node* hook =
      graph.insertNode(graph.create(forwardHookSymbol(), {mark->input(0), mark->input(1), index, clone}, 1));
  hook->output()->setType(mark->output()->type());
  mark->output()->replaceAllUsesWith(hook->output());
  mark->destroy();
}

// Keeps the marks of the calls that were asked for. A call inside an `if` or a loop runs any number of times,
// so then every mark stays, unnumbered, and the choice is made after forward.
void placeHooks(LayerMarks& layer, const HookedLayer& wanted, const torch::jit::AliasDb& aliases) {
  auto& marks = layer.marks;
  const bool allStraight = std::all_of(marks.begin(), marks.end(), [](const Node* mark) {
    return mark->owningBlock() == mark->owningGraph()->block();
  });
  const int count = static_cast<int>(marks.size());
  if (allStraight && wanted.call.kind == CallChoice::Kind::Index && wanted.call.index >= count) {
    throw Failure("ERR_LAYER_NOT_CALLED", "Layer '" + wanted.path + "' is called " + std::to_string(count) +
                                              " time" + (count == 1 ? "" : "s") + ", so there is no call " +
                                              std::to_string(wanted.call.index) + " (the first is call 0).")
        .withLayer(wanted.path);
  }
  for (int index = 0; index < count; ++index) {
    Node* mark = marks[static_cast<std::size_t>(index)];
    const bool chosen =
        !allStraight || wanted.call.kind == CallChoice::Kind::All ||
        (wanted.call.kind == CallChoice::Kind::Last ? index == count - 1 : index == wanted.call.index);
    if (chosen) {
      replaceMarkByHook(mark, allStraight ? index : -1, aliases.hasWriters(mark->output()));
    } else {
      removeMark(mark);
    }
  }
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

// The marks of each layer, in program order; passes that simplified the graph may have removed some.
std::vector<LayerMarks> findMarks(Graph& graph, std::size_t layerCount) {
  std::vector<LayerMarks> layers(layerCount);
  const std::function<void(torch::jit::Block*)> visit = [&](torch::jit::Block* block) {
    for (Node* node : block->nodes()) {
      for (torch::jit::Block* inner : node->blocks()) visit(inner);
      if (node->kind() != markSymbol()) continue;
      const auto slot = torch::jit::toIValue(node->input(1))->toInt();
      layers[static_cast<std::size_t>(slot)].marks.push_back(node);
    }
  };
  visit(graph.block());
  return layers;
}

// Operations of a kind, or all; constants are none.
int countNodes(Graph& graph, std::optional<c10::Symbol> kind) {
  int count = 0;
  const std::function<void(torch::jit::Block*)> visit = [&](torch::jit::Block* block) {
    for (Node* node : block->nodes()) {
      for (torch::jit::Block* inner : node->blocks()) visit(inner);
      if (kind ? node->kind() == *kind : node->kind() != c10::prim::Constant) ++count;
    }
  };
  visit(graph.block());
  return count;
}

bool holdsHook(Node* node) {
  if (node->kind() == forwardHookSymbol()) return true;
  for (torch::jit::Block* block : node->blocks()) {
    for (Node* inner : block->nodes()) {
      if (holdsHook(inner)) return true;
    }
  }
  return false;
}

// The first node at the top level that is a hook, or a branch or loop with one inside.
Node* firstHook(Graph& graph) {
  for (Node* node : graph.nodes()) {
    if (holdsHook(node)) return node;
  }
  return nullptr;
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

void prepareToRun(std::shared_ptr<Graph>& graph) {
  // What LibTorch's own executor does to every graph before it runs.
  torch::jit::RemoveExpands(graph);
  torch::jit::EraseShapeInformation(graph);
}

}  // namespace

std::size_t livePlans() {
  return Plan::alive();
}

Plan::Plan(const torch::jit::Module& model,
           const std::string& method,
           std::shared_ptr<Graph> prefix,
           std::shared_ptr<Graph> tail,
           std::vector<HookedLayer> layers,
           std::vector<c10::IValue> prefixState,
           PlanDescription facts)
    : model_(model),
      method_(method),
      takesImageList_(method == "forward" && takesImageList(model)),
      prefixState_(std::move(prefixState)),
      prefixGraph_(std::move(prefix)),
      tailGraph_(std::move(tail)),
      layers_(std::move(layers)),
      facts_(std::move(facts)) {
  for (const auto& graph : {prefixGraph_, tailGraph_}) {
    if (graph) writtenAttributes_.merge(writtenAttributes(graph));
  }
  if (prefixGraph_) prefix_ = torch::jit::Code(prefixGraph_, "prefix");
  if (tailGraph_) {
    tail_ = torch::jit::Code(tailGraph_, "tail");
    const torch::jit::AliasDb aliases(tailGraph_);
    for (const Value* input : tailGraph_->inputs()) tailWrites_ = tailWrites_ || aliases.hasWriters(input);
  }
}

std::shared_ptr<const Plan> Plan::keepOutputs(const torch::jit::Module& model,
                                              const std::string& method,
                                              std::vector<HookedLayer> layers,
                                              bool optimize,
                                              bool secondDerivatives) {
  std::vector<std::string> otherOutputType(
      layers.size());  // where a call gives something that is not a tensor
  auto graph = inlineModuleCalls(model, method, [&](const std::string& path, Value* output, Node* behind) {
    for (std::size_t slot = 0; slot < layers.size(); ++slot) {
      if (layers[slot].path != path) continue;
      if (output->type()->isSubtypeOf(*c10::TensorType::get()) || isOfMaps(output->type())) {
        insertMark(output, static_cast<int>(slot), behind);
      } else {
        otherOutputType[slot] = output->type()->repr_str();
      }
    }
  });
  for (std::size_t slot = 0; isFrozen(model) && slot < layers.size(); ++slot) {
    if (Value* value = valueNamed(*graph, layers[slot].path)) {
      insertMark(value, static_cast<int>(slot), value->node()->next());
    }
  }
  openSelfAttention(graph);
  ownInputs(graph);
  auto marksOf = findMarks(*graph, layers.size());
  for (std::size_t slot = 0; slot < layers.size(); ++slot) {
    if (!otherOutputType[slot].empty()) {
      throw Failure("ERR_LAYER_OUTPUT",
                    "Layer '" + layers[slot].path + "' gives " + otherOutputType[slot] +
                        ", not a tensor. Choose a layer inside it that gives one tensor, or "
                        "the levels of a feature pyramid.")
          .withLayer(layers[slot].path);
    }
    if (marksOf[slot].marks.empty() && !layers[slot].optional)
      throwNotCalled(model, method, layers[slot].path);
  }

  PlanDescription facts;
  if (optimize) {
    std::vector<std::size_t> counts;
    for (const LayerMarks& layer : marksOf) counts.push_back(layer.marks.size());
    freezeGraph(graph, model);
    marksOf = findMarks(*graph, layers.size());
    for (std::size_t slot = 0; slot < layers.size(); ++slot) {
      // Nothing uses the layer's output, or a branch that cannot be taken held it: what then to tell the
      // user, the graph as it was tells.
      if (marksOf[slot].marks.size() != counts[slot])
        return keepOutputs(model, method, std::move(layers), false, secondDerivatives);
    }
  }
  if (!optimize) {
    foldSettings(graph, model);
    marksOf = findMarks(*graph, layers.size());
  }
  prepareToRun(graph);
  removeInPlaceWrites(graph);
  {
    const torch::jit::AliasDb aliases(graph);
    for (std::size_t slot = 0; slot < layers.size(); ++slot) placeHooks(marksOf[slot], layers[slot], aliases);
  }
  if (!optimize && secondDerivatives) openScaledDotProducts(graph);
  if (!optimize)
    return std::shared_ptr<const Plan>(
        new Plan(model, method, nullptr, std::move(graph), std::move(layers), {}, {}));
  const int batchNorms = countNodes(*graph, c10::aten::batch_norm);
  const bool mayFuseConvolutions = restorePlainLayouts(graph);
  SplitGraph split = splitGraph(graph, firstHook(*graph));
  std::vector<c10::IValue> state;
  if (!split.crossingValuesAlias) state = optimizePrefix(split.prefix, mayFuseConvolutions, facts);
  openSelfAttention(split.tail);  // now that a scripted number of heads is a constant
  if (secondDerivatives) openScaledDotProducts(split.tail);
  foldBatchNorms(split.tail);
  facts.foldedBatchNorms = batchNorms - countNodes(*split.prefix, c10::aten::batch_norm) -
                           countNodes(*split.tail, c10::aten::batch_norm);
  return std::shared_ptr<const Plan>(new Plan(model, method, std::move(split.prefix), std::move(split.tail),
                                              std::move(layers), std::move(state), facts));
}

std::shared_ptr<const Plan> Plan::observeOutputs(const torch::jit::Module& model,
                                                 const std::string& method,
                                                 const std::vector<std::string>& paths) {
  std::unordered_map<std::string, int> slots;
  for (const std::string& path : paths) slots.emplace(path, static_cast<int>(slots.size()));
  const auto observe = [&](const std::string& path, Value* output, Node* behind) {
    const auto slot = slots.find(path);
    if (slot == slots.end()) return;
    Graph& owner = *output->owningGraph();
    torch::jit::WithInsertPoint here(behind);
    Value* slotConstant = owner.insertConstant(slot->second);
    owner.insertNode(owner.create(observeSymbol(), {output, slotConstant}, 0));
  };
  auto graph = inlineModuleCalls(model, method, observe);
  if (isFrozen(model)) {
    for (const std::string& path : paths) {
      if (Value* value = valueNamed(*graph, path)) observe(path, value, value->node()->next());
    }
  }
  ownInputs(graph);
  prepareToRun(graph);
  return std::shared_ptr<const Plan>(new Plan(model, method, nullptr, std::move(graph), {}, {}, {}));
}

std::shared_ptr<const Plan> Plan::keepAttention(const torch::jit::Module& model, const std::string& method) {
  auto graph = inlineModuleCalls(model, method, [](const std::string&, Value*, Node*) {});
  openSelfAttention(graph);
  openScaledDotProducts(graph);
  ownInputs(graph);
  std::vector<Node*> softmaxes;
  const std::function<void(torch::jit::Block*)> visit = [&](torch::jit::Block* block) {
    for (Node* node : block->nodes()) {
      for (torch::jit::Block* inner : node->blocks()) visit(inner);
      if (node->kind() == c10::aten::softmax) softmaxes.push_back(node);
    }
  };
  visit(graph->block());
  if (softmaxes.empty()) {
    throw Failure("ERR_UNSUPPORTED",
                  "LeGrad needs attention, and this model's graph holds no softmax to take its gradient at. "
                  "Use GradCAM "
                  "with a reshapeTransform instead.");
  }
  std::vector<HookedLayer> layers;
  for (Node* node : softmaxes) {
    insertMark(node->output(), static_cast<int>(layers.size()), node->next());
    layers.push_back(
        {"softmax " + std::to_string(layers.size()), {CallChoice::Kind::All, 0}, /*optional=*/true});
  }
  auto marksOf = findMarks(*graph, layers.size());
  prepareToRun(graph);
  removeInPlaceWrites(graph);
  {
    const torch::jit::AliasDb aliases(graph);
    for (std::size_t slot = 0; slot < layers.size(); ++slot) placeHooks(marksOf[slot], layers[slot], aliases);
  }
  return std::shared_ptr<const Plan>(
      new Plan(model, method, nullptr, std::move(graph), std::move(layers), {}, {}));
}

std::shared_ptr<const Plan> Plan::recorded(const torch::jit::Module& model,
                                           const std::string& method,
                                           bool guidedRelu) {
  auto graph = inlineModuleCalls(model, method, [](const std::string&, Value*, Node*) {});
  openSelfAttention(graph);
  ownInputs(graph);
  foldSettings(graph, model);
  removeInPlaceWrites(graph);
  if (guidedRelu) replaceReluByGuidedRelu(graph);
  prepareToRun(graph);
  return std::shared_ptr<const Plan>(new Plan(model, method, nullptr, std::move(graph), {}, {}, {}));
}

std::shared_ptr<const Plan> Plan::plain(const torch::jit::Module& model, const std::string& method) {
  auto graph = inlineModuleCalls(model, method, [](const std::string&, Value*, Node*) {});
  ownInputs(graph);
  prepareToRun(graph);
  return std::shared_ptr<const Plan>(new Plan(model, method, std::move(graph), nullptr, {}, {}, {}));
}

namespace {

// A model that warns once remembers it in an attribute, and attributes that it writes last for one run.
class WarnOnce final : public c10::WarningHandler {
 public:
  void process(const c10::Warning& warning) override {
    {
      const std::lock_guard lock(mutex_);
      if (said_.size() >= kMostRemembered || !said_.insert(warning.msg()).second) return;
    }
    c10::WarningHandler::process(warning);
  }

 private:
  static constexpr std::size_t kMostRemembered = 1000;
  std::mutex mutex_;
  std::set<std::string> said_;
};

torch::jit::Stack interpret(const torch::jit::Code& code, torch::jit::Stack stack) {
  static auto* warnOnce = new WarnOnce;  // never destroyed: executors outlive main()
  const c10::WarningUtils::WarningHandlerGuard warnings(warnOnce);
  // What the model forks runs here, at once: hooks belong to one thread.
  torch::jit::InterpreterState interpreter(code, [](const std::function<void()>& task) { task(); });
  interpreter.run(stack);
  return stack;
}

}  // namespace

torch::jit::Stack Plan::runPrefix(const std::vector<c10::IValue>& inputs) const {
  torch::jit::Stack stack;
  stack.reserve(inputs.size() + 1);
  stack.push_back(modelForOneRun(model_._ivalue()));
  if (takesImageList_) {
    stack.push_back(toImageList(inputs));
  } else {
    stack.insert(stack.end(), inputs.begin(), inputs.end());
  }
  // Checks the arguments and fills in the defaults of those not given.
  model_.get_method(method_).function().getSchema().checkAndNormalizeInputs(stack);
  if (!prefixGraph_) return stack;
  stack.insert(stack.end(), prefixState_.begin(), prefixState_.end());
  return interpret(prefix_, std::move(stack));
}

// The model is shared by all executors, and is to stay what it is.
c10::IValue Plan::modelForOneRun(const c10::IValue& model) const {
  return writtenAttributes_.empty() ? model : copyWithOwn(model, writtenAttributes_);
}

c10::IValue Plan::runTail(torch::jit::Stack crossing) const {
  if (!writtenAttributes_.empty()) {
    for (c10::IValue& value : crossing) {
      if (value.isModule()) value = modelForOneRun(value);
    }
  }
  if (tailGraph_) crossing = interpret(tail_, std::move(crossing));
  return torch::jit::pop(crossing);
}

std::vector<std::string> Plan::withoutDerivative() const {
  std::set<std::string> names;
  if (tailGraph_) {
    forEachNode(tailGraph_->block(), [&](const Node* node) {
      if (std::string(node->kind().ns().toUnqualString()) == "quantized")
        names.insert(node->kind().toQualString());
    });
  }
  return {names.begin(), names.end()};
}

PlanDescription Plan::describe() const {
  PlanDescription description = facts_;
  const auto describePart = [](const std::shared_ptr<Graph>& graph, PlanDescription::Part& part) {
    if (!graph) return;
    part.nodes = countNodes(*graph, std::nullopt);
    part.graph = graph->toString(/*print_source_locations=*/false);
  };
  describePart(prefixGraph_, description.prefix);
  describePart(tailGraph_, description.tail);
  if (prefixGraph_ && tailGraph_)
    description.crossingValues = static_cast<int>(prefixGraph_->outputs().size());
  return description;
}

}  // namespace gradcam
