#include "core/hooks/layer_marks.h"

#include <algorithm>
#include <string>

#include "api/failure.h"
#include "core/hooks/forward_hooks.h"
#include "core/script/graph_walk.h"
#include "core/values/tensor_types.h"

namespace gradcam {
namespace {

using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

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

void placeHooksOf(const TargetLayer& wanted,
                  const std::vector<Node*>& marks,
                  const torch::jit::AliasDb& aliases) {
  const bool allStraight = std::all_of(marks.begin(), marks.end(), [](const Node* mark) {
    return mark->owningBlock() == mark->owningGraph()->block();
  });
  const int count = static_cast<int>(marks.size());
  if (allStraight && wanted.call == CallKind::Index && wanted.callIndex >= count) {
    throw Failure("ERR_LAYER_NOT_CALLED", "Layer '" + wanted.path + "' is called " + std::to_string(count) +
                                              " time" + (count == 1 ? "" : "s") + ", so there is no call " +
                                              std::to_string(wanted.callIndex) + " (the first is call 0).")
        .withLayer(wanted.path);
  }
  for (int index = 0; index < count; ++index) {
    Node* mark = marks[static_cast<std::size_t>(index)];
    const bool chosen = !allStraight || wanted.call == CallKind::All ||
                        (wanted.call == CallKind::Last ? index == count - 1 : index == wanted.callIndex);
    if (chosen) {
      replaceMarkByHook(mark, allStraight ? index : -1, aliases.hasWriters(mark->output()));
    } else {
      removeMark(mark);
    }
  }
}

bool holdsHook(Node* node) {
  const auto isHook = [](const Node* each) {
    return each->kind() == forwardHookSymbol() || each->kind() == recordFromSymbol();
  };
  bool found = false;
  forEachNodeOf(node, [&](const Node* each) { found = found || isHook(each); });
  return found;
}

}  // namespace

void insertMark(Value* output, int slot, Node* behind) {
  Graph& graph = *output->owningGraph();
  torch::jit::WithInsertPoint here(behind);
  Value* slotConstant = graph.insertConstant(slot);
  Node* mark = graph.insertNode(graph.create(markSymbol(), {output, slotConstant}, 1));
  mark->output()->setType(output->type());
  output->replaceAllUsesAfterNodeWith(mark, mark->output());
}

void recordFromArguments(Node* call) {
  Graph& graph = *call->owningGraph();
  torch::jit::WithInsertPoint here(call);
  for (std::size_t index = 1; index < call->inputs().size(); ++index) {  // the first is the module
    Value* argument = call->input(index);
    if (!mayHoldTensor(argument->type())) continue;
    Node* record = graph.insertNode(graph.create(recordFromSymbol(), {argument}, 1));
    record->output()->setType(argument->type());
    call->replaceInput(index, record->output());
  }
}

std::vector<std::vector<Node*>> findMarks(Graph& graph, std::size_t slots) {
  std::vector<std::vector<Node*>> marks(slots);
  forEachNode(graph.block(), [&](Node* node) {
    if (node->kind() != markSymbol()) return;
    const auto slot = torch::jit::toIValue(node->input(1))->toInt();
    marks[static_cast<std::size_t>(slot)].push_back(node);
  });
  return marks;
}

void placeHooks(const std::shared_ptr<Graph>& graph, const std::vector<TargetLayer>& layers) {
  const auto marks = findMarks(*graph, layers.size());
  const torch::jit::AliasDb aliases(graph);
  for (std::size_t slot = 0; slot < layers.size(); ++slot) placeHooksOf(layers[slot], marks[slot], aliases);
}

Node* firstHook(Graph& graph) {
  for (Node* node : graph.nodes()) {
    if (holdsHook(node)) return node;
  }
  return nullptr;
}

}  // namespace gradcam
