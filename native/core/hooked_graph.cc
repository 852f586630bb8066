#include "core/hooked_graph.h"

#include <algorithm>
#include <unordered_map>

#include "core/failure.h"
#include "core/forward_hooks.h"
#include "core/module_calls.h"

namespace gradcam {
namespace {

using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

// A note behind each call of one hooked layer, in program order, until it is known what hook belongs there.
struct LayerMarks {
  std::vector<Node*> marks;
  std::string otherOutputType;  // set where a call gives something that is not a tensor
};

Node* insertMark(Value* output, int slot, Node* behind) {
  Graph& graph = *output->owningGraph();
  torch::jit::WithInsertPoint here(behind);
  Value* slotConstant = graph.insertConstant(slot);
  Node* mark = graph.insertNode(graph.create(markSymbol(), {output, slotConstant}, 1));
  mark->output()->setType(output->type());
  output->replaceAllUsesAfterNodeWith(mark, mark->output());
  return mark;
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

[[noreturn]] void throwNotCalled(const torch::jit::Module& model, const std::string& path) {
  std::vector<std::string> inside;
  for (const auto& named : model.named_modules()) {
    if (named.name.rfind(path + ".", 0) == 0) inside.push_back(named.name);
  }
  std::string hint = inside.empty() ? "Choose a layer that forward runs; inspect() tells which."
                                    : "It may only hold other layers: choose one inside it, such as '" +
                                          inside.back() + "'.";
  throw Failure("ERR_LAYER_NOT_CALLED",
                "Layer '" + path + "' exists, but the model's forward never calls it. " + hint)
      .withLayer(path)
      .withAvailable(inside);
}

void prepareToRun(std::shared_ptr<Graph>& graph) {
  // What LibTorch's own executor does to every graph before it runs.
  torch::jit::RemoveExpands(graph);
  torch::jit::EraseShapeInformation(graph);
}

}  // namespace

HookedGraph::HookedGraph(const torch::jit::Module& model,
                         std::shared_ptr<Graph> graph,
                         std::vector<HookedLayer> layers)
    : model_(model), code_(graph, "forward"), layers_(std::move(layers)) {}

std::shared_ptr<const HookedGraph> HookedGraph::keepOutputs(const torch::jit::Module& model,
                                                            std::vector<HookedLayer> layers) {
  std::vector<LayerMarks> marksOf(layers.size());
  auto graph = inlineModuleCalls(model, [&](const std::string& path, Value* output, Node* behind) {
    for (std::size_t slot = 0; slot < layers.size(); ++slot) {
      if (layers[slot].path != path) continue;
      if (output->type()->isSubtypeOf(*c10::TensorType::get())) {
        marksOf[slot].marks.push_back(insertMark(output, static_cast<int>(slot), behind));
      } else {
        marksOf[slot].otherOutputType = output->type()->repr_str();
      }
    }
  });
  for (std::size_t slot = 0; slot < layers.size(); ++slot) {
    if (!marksOf[slot].otherOutputType.empty()) {
      throw Failure("ERR_LAYER_OUTPUT", "Layer '" + layers[slot].path + "' gives " +
                                            marksOf[slot].otherOutputType +
                                            ", not a tensor. Choose a layer inside it that gives one tensor.")
          .withLayer(layers[slot].path);
    }
    if (marksOf[slot].marks.empty()) throwNotCalled(model, layers[slot].path);
  }
  prepareToRun(graph);
  {
    const torch::jit::AliasDb aliases(graph);
    for (std::size_t slot = 0; slot < layers.size(); ++slot) placeHooks(marksOf[slot], layers[slot], aliases);
  }
  return std::shared_ptr<const HookedGraph>(new HookedGraph(model, std::move(graph), std::move(layers)));
}

std::shared_ptr<const HookedGraph> HookedGraph::observeOutputs(const torch::jit::Module& model,
                                                               const std::vector<std::string>& paths) {
  std::unordered_map<std::string, int> slots;
  for (const std::string& path : paths) slots.emplace(path, static_cast<int>(slots.size()));
  auto graph = inlineModuleCalls(model, [&](const std::string& path, Value* output, Node* behind) {
    const auto slot = slots.find(path);
    if (slot == slots.end()) return;
    Graph& owner = *output->owningGraph();
    torch::jit::WithInsertPoint here(behind);
    Value* slotConstant = owner.insertConstant(slot->second);
    owner.insertNode(owner.create(observeSymbol(), {output, slotConstant}, 0));
  });
  prepareToRun(graph);
  return std::shared_ptr<const HookedGraph>(new HookedGraph(model, std::move(graph), {}));
}

std::shared_ptr<const HookedGraph> HookedGraph::plain(const torch::jit::Module& model) {
  auto graph = inlineModuleCalls(model, [](const std::string&, Value*, Node*) {});
  prepareToRun(graph);
  return std::shared_ptr<const HookedGraph>(new HookedGraph(model, std::move(graph), {}));
}

c10::IValue HookedGraph::run(const std::vector<c10::IValue>& inputs) const {
  torch::jit::Stack stack;
  stack.reserve(inputs.size() + 1);
  stack.emplace_back(model_._ivalue());
  stack.insert(stack.end(), inputs.begin(), inputs.end());
  // Checks the arguments and fills in the defaults of those not given.
  model_.get_method("forward").function().getSchema().checkAndNormalizeInputs(stack);
  // What the model forks runs here, at once: hooks belong to one thread.
  torch::jit::InterpreterState interpreter(code_, [](const std::function<void()>& task) { task(); });
  interpreter.run(stack);
  return torch::jit::pop(stack);
}

}  // namespace gradcam
