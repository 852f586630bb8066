#include "core/forward_hooks.h"

#include "core/feature_maps.h"
#include "core/operator_names.h"

namespace gradcam {
namespace {

thread_local ForwardHooks* currentHooks = nullptr;

void runForwardHook(torch::jit::Stack& stack) {
  const bool clone = torch::jit::pop(stack).toBool();
  const auto callIndex = static_cast<int>(torch::jit::pop(stack).toInt());
  const auto slot = static_cast<int>(torch::jit::pop(stack).toInt());
  c10::IValue output = torch::jit::pop(stack);
  if (ForwardHooks* hooks = ForwardHooks::current()) {
    output = output.isTensor() ? c10::IValue(hooks->keep(output.toTensor(), slot, callIndex, clone))
                               : hooks->keepMaps(output, slot, callIndex);
  }
  torch::jit::push(stack, std::move(output));
}

void runObserve(torch::jit::Stack& stack) {
  const bool dependsOnInput = torch::jit::pop(stack).toBool();
  const auto slot = static_cast<int>(torch::jit::pop(stack).toInt());
  const c10::IValue output = torch::jit::pop(stack);
  if (ForwardHooks* hooks = ForwardHooks::current()) hooks->observe(output, slot, dependsOnInput);
}

void refuseToRun(torch::jit::Stack&) {
  throw std::logic_error("a hook mark was left in a graph that runs");
}

const torch::jit::RegisterOperators& registerHookOperators() {
  static const torch::jit::RegisterOperators registered({
      torch::jit::Operator(operatorName("mark") + "(t(a) output, int slot) -> t(a)", refuseToRun,
                           c10::AliasAnalysisKind::FROM_SCHEMA),
      torch::jit::Operator(
          operatorName("forward_hook") + "(t(a) output, int slot, int call_index, bool clone) -> t(a)",
          runForwardHook, c10::AliasAnalysisKind::FROM_SCHEMA),
      torch::jit::Operator(operatorName("observe") + "(Any output, int slot, bool depends_on_input) -> ()",
                           runObserve, c10::AliasAnalysisKind::CONSERVATIVE),
  });
  return registered;
}

c10::Symbol hookSymbol(const char* name) {
  registerHookOperators();
  return operatorSymbol(name);
}

}  // namespace

ForwardHooks::ForwardHooks(Mode mode, std::size_t slots)
    : mode_(mode), restoreGradMode_(false), outer_(currentHooks), callCounts_(slots, 0) {
  currentHooks = this;
}

ForwardHooks::ForwardHooks(LayerCall replacement, std::size_t slots) : ForwardHooks(Mode::Replace, slots) {
  replacement_ = std::move(replacement);
}

ForwardHooks::~ForwardHooks() {
  currentHooks = outer_;
}

ForwardHooks* ForwardHooks::current() {
  return currentHooks;
}

int ForwardHooks::nextCallIndex(int slot, int callIndex) {
  const int dynamicIndex = callCounts_[static_cast<std::size_t>(slot)]++;
  return callIndex < 0 ? dynamicIndex : callIndex;
}

bool ForwardHooks::isReplaced(int slot, int callIndex) const {
  return slot == replacement_.slot && callIndex == replacement_.callIndex;
}

at::Tensor ForwardHooks::keep(at::Tensor output, int slot, int callIndex, bool cloneForLaterWrites) {
  callIndex = nextCallIndex(slot, callIndex);
  if (mode_ == Mode::Replace) {
    if (!isReplaced(slot, callIndex)) return output;
    return cloneForLaterWrites ? replacement_.activation.clone() : replacement_.activation;
  }
  if (!at::isFloatingType(output.scalar_type())) {  // no gradient can exist; reported after forward
    calls_.push_back({slot, callIndex, output, {}});
    return output;
  }
  // Everything before the first hooked layer ran without gradients. From here on they are recorded.
  at::GradMode::set_enabled(true);
  if (!output.requires_grad()) output = output.detach().requires_grad_(true);
  calls_.push_back({slot, callIndex, output, {}});
  // An in-place ReLU or += behind the layer must not rewrite what was kept.
  return cloneForLaterWrites ? output.clone() : output;
}

c10::IValue ForwardHooks::keepMaps(const c10::IValue& output, int slot, int callIndex) {
  callIndex = nextCallIndex(slot, callIndex);
  if (mode_ == Mode::Replace)
    return isReplaced(slot, callIndex) ? withMaps(output, replacement_.maps) : output;
  std::vector<at::Tensor> kept, handedOn;
  at::GradMode::set_enabled(true);
  for (const at::Tensor& map : mapsOf(output)) {
    const bool canRecord = at::isFloatingType(map.scalar_type());
    kept.push_back(canRecord && !map.requires_grad() ? map.detach().requires_grad_(true) : map);
    // Alias analysis does not follow tensors into containers: whoever writes to one later writes to a copy.
    handedOn.push_back(canRecord ? kept.back().clone() : map);
  }
  calls_.push_back({slot, callIndex, {}, std::move(kept)});
  return withMaps(output, handedOn);
}

void ForwardHooks::observe(const c10::IValue& output, int slot, bool dependsOnInput) {
  Observation observation{slot, std::nullopt, {}, dependsOnInput};
  for (const at::Tensor& map : mapsOf(output)) observation.shapesOfMaps.push_back(map.sizes().vec());
  if (output.isTensor()) observation.shape = output.toTensor().sizes().vec();
  observations_.push_back(std::move(observation));
}

const c10::Symbol& markSymbol() {
  static const c10::Symbol symbol = hookSymbol("mark");
  return symbol;
}

const c10::Symbol& forwardHookSymbol() {
  static const c10::Symbol symbol = hookSymbol("forward_hook");
  return symbol;
}

const c10::Symbol& observeSymbol() {
  static const c10::Symbol symbol = hookSymbol("observe");
  return symbol;
}

}  // namespace gradcam
