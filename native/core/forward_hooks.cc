#include "core/forward_hooks.h"

#include "core/operator_names.h"

namespace gradcam {
namespace {

thread_local ForwardHooks* currentHooks = nullptr;

void runForwardHook(torch::jit::Stack& stack) {
  const bool clone = torch::jit::pop(stack).toBool();
  const auto callIndex = static_cast<int>(torch::jit::pop(stack).toInt());
  const auto slot = static_cast<int>(torch::jit::pop(stack).toInt());
  at::Tensor output = torch::jit::pop(stack).toTensor();
  if (ForwardHooks* hooks = ForwardHooks::current())
    output = hooks->keep(std::move(output), slot, callIndex, clone);
  torch::jit::push(stack, std::move(output));
}

void runObserve(torch::jit::Stack& stack) {
  const auto slot = static_cast<int>(torch::jit::pop(stack).toInt());
  const c10::IValue output = torch::jit::pop(stack);
  if (ForwardHooks* hooks = ForwardHooks::current()) hooks->observe(output, slot);
}

void refuseToRun(torch::jit::Stack&) {
  throw std::logic_error("a hook mark was left in a graph that runs");
}

const torch::jit::RegisterOperators& registerHookOperators() {
  static const torch::jit::RegisterOperators registered({
      torch::jit::Operator(operatorName("mark") + "(Tensor(a) output, int slot) -> Tensor(a)", refuseToRun,
                           c10::AliasAnalysisKind::FROM_SCHEMA),
      torch::jit::Operator(operatorName("forward_hook") +
                               "(Tensor(a) output, int slot, int call_index, bool clone) -> Tensor(a)",
                           runForwardHook, c10::AliasAnalysisKind::FROM_SCHEMA),
      torch::jit::Operator(operatorName("observe") + "(Any output, int slot) -> ()", runObserve,
                           c10::AliasAnalysisKind::CONSERVATIVE),
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

ForwardHooks::ForwardHooks(int slot, int callIndex, at::Tensor replacement, std::size_t slots)
    : ForwardHooks(Mode::Replace, slots) {
  replacement_ = {slot, callIndex, std::move(replacement)};
}

ForwardHooks::~ForwardHooks() {
  currentHooks = outer_;
}

ForwardHooks* ForwardHooks::current() {
  return currentHooks;
}

at::Tensor ForwardHooks::keep(at::Tensor output, int slot, int callIndex, bool cloneForLaterWrites) {
  const int dynamicIndex = callCounts_[static_cast<std::size_t>(slot)]++;
  if (callIndex < 0) callIndex = dynamicIndex;
  if (mode_ == Mode::Replace) {
    const bool meant = slot == replacement_.slot && callIndex == replacement_.callIndex;
    if (!meant) return output;
    return cloneForLaterWrites ? replacement_.activation.clone() : replacement_.activation;
  }
  if (!at::isFloatingType(output.scalar_type())) {  // no gradient can exist; reported after forward
    calls_.push_back({slot, callIndex, output});
    return output;
  }
  // Everything before the first hooked layer ran without gradients. From here on they are recorded.
  at::GradMode::set_enabled(true);
  if (!output.requires_grad()) output = output.detach().requires_grad_(true);
  calls_.push_back({slot, callIndex, output});
  // An in-place ReLU or += behind the layer must not rewrite what was kept.
  return cloneForLaterWrites ? output.clone() : output;
}

void ForwardHooks::observe(const c10::IValue& output, int slot) {
  Observation observation{slot, std::nullopt};
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
