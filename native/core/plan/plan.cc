#include "core/plan/plan.h"

#include <functional>
#include <mutex>

#include "core/graphs/cancellation_points.h"
#include "core/graphs/in_place_writes.h"
#include "core/script/graph_walk.h"
#include "core/script/image_list.h"
#include "core/script/module_facts.h"

namespace gradcam {
namespace {

using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

// Constants are none.
int countOperations(Graph& graph) {
  int count = 0;
  forEachNode(graph.block(), [&](const Node* node) { count += node->kind() == c10::prim::Constant ? 0 : 1; });
  return count;
}

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

std::size_t livePlans() {
  return Plan::alive();
}

Plan::Plan(const torch::jit::Module& model, const std::string& method, Parts parts)
    : model_(model),
      method_(method),
      takesImageList_(method == "forward" && takesImageList(model)),
      parts_(std::move(parts)) {
  for (const TargetLayer& layer : parts_.layers) weights_.emplace_back(moduleNamed(model, layer.path));
  for (const auto& graph : {parts_.prefix, parts_.tail}) {
    if (graph) writtenAttributes_.merge(writtenAttributes(graph));
  }
  if (parts_.tail) {
    const torch::jit::AliasDb aliases(parts_.tail);
    for (const Value* input : parts_.tail->inputs()) tailWrites_ = tailWrites_ || aliases.hasWriters(input);
  }
  for (const auto& graph : {parts_.prefix, parts_.tail}) {
    if (graph) insertCancellationPoints(*graph);
  }
  if (parts_.prefix) prefix_ = torch::jit::Code(parts_.prefix, "prefix");
  if (parts_.tail) tail_ = torch::jit::Code(parts_.tail, "tail");
}

torch::jit::Stack Plan::runPrefix(const ModelInputs& inputs) const {
  return runPrefix(toStack(schema(), inputs, takesImageList_));
}

torch::jit::Stack Plan::runPrefix(torch::jit::Stack stack) const {
  stack.insert(stack.begin(), modelForOneRun(model_._ivalue()));
  // The interpreter checks nothing that it is given. Fills in the defaults of what was left out, too.
  schema().checkAndNormalizeInputs(stack);
  if (!parts_.prefix) return stack;
  stack.insert(stack.end(), parts_.capsules.begin(), parts_.capsules.end());
  return interpret(prefix_, std::move(stack));
}

const c10::FunctionSchema& Plan::schema() const {
  return model_.get_method(method_).function().getSchema();
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
  if (parts_.tail) {
    crossing.insert(crossing.end(), parts_.tailCapsules.begin(), parts_.tailCapsules.end());
    crossing = interpret(tail_, std::move(crossing));
  }
  return torch::jit::pop(crossing);
}

std::vector<std::string> Plan::withoutDerivative() const {
  std::set<std::string> names;
  if (parts_.tail) {
    forEachNode(parts_.tail->block(), [&](const Node* node) {
      if (std::string(node->kind().ns().toUnqualString()) == "quantized")
        names.insert(node->kind().toQualString());
    });
  }
  return {names.begin(), names.end()};
}

PlanDescription Plan::describe() const {
  PlanDescription description = parts_.facts;
  const auto describePart = [](const std::shared_ptr<Graph>& graph, PlanDescription::Part& part) {
    if (!graph) return;
    part.nodes = countOperations(*graph);
    part.graph = graph->toString(/*print_source_locations=*/false);
  };
  describePart(parts_.prefix, description.prefix);
  describePart(parts_.tail, description.tail);
  if (parts_.prefix && parts_.tail)
    description.crossingValues = static_cast<int>(parts_.prefix->outputs().size());
  return description;
}

}  // namespace gradcam
