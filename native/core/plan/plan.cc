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

Plan::Plan(const torch::jit::Module& model,
           const std::string& method,
           std::shared_ptr<Graph> prefix,
           std::shared_ptr<Graph> tail,
           std::vector<HookedLayer> layers,
           std::vector<c10::IValue> prefixState,
           PlanDescription facts,
           std::vector<std::vector<UnrollStep>> unrolled)
    : model_(model),
      method_(method),
      takesImageList_(method == "forward" && takesImageList(model)),
      prefixState_(std::move(prefixState)),
      prefixGraph_(std::move(prefix)),
      tailGraph_(std::move(tail)),
      layers_(std::move(layers)),
      unrolled_(std::move(unrolled)),
      facts_(std::move(facts)) {
  for (const HookedLayer& layer : layers_) weights_.emplace_back(moduleNamed(model, layer.path));
  for (const auto& graph : {prefixGraph_, tailGraph_}) {
    if (graph) writtenAttributes_.merge(writtenAttributes(graph));
  }
  if (tailGraph_) {
    const torch::jit::AliasDb aliases(tailGraph_);
    for (const Value* input : tailGraph_->inputs()) tailWrites_ = tailWrites_ || aliases.hasWriters(input);
  }
  for (const auto& graph : {prefixGraph_, tailGraph_}) {
    if (graph) insertCancellationPoints(*graph);
  }
  if (prefixGraph_) prefix_ = torch::jit::Code(prefixGraph_, "prefix");
  if (tailGraph_) tail_ = torch::jit::Code(tailGraph_, "tail");
}

torch::jit::Stack Plan::runPrefix(const ModelInputs& inputs) const {
  return runPrefix(toStack(schema(), inputs, takesImageList_));
}

torch::jit::Stack Plan::runPrefix(torch::jit::Stack stack) const {
  stack.insert(stack.begin(), modelForOneRun(model_._ivalue()));
  schema().checkAndNormalizeInputs(stack);
  if (!prefixGraph_) return stack;
  stack.insert(stack.end(), prefixState_.begin(), prefixState_.end());
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
    part.nodes = countOperations(*graph);
    part.graph = graph->toString(/*print_source_locations=*/false);
  };
  describePart(prefixGraph_, description.prefix);
  describePart(tailGraph_, description.tail);
  if (prefixGraph_ && tailGraph_)
    description.crossingValues = static_cast<int>(prefixGraph_->outputs().size());
  return description;
}

}  // namespace gradcam
