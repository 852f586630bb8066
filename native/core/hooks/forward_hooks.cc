#include "core/hooks/forward_hooks.h"

#include "core/script/own_operators.h"
#include "core/values/feature_maps.h"
#include "core/values/output_tree.h"
#include "core/values/tensor_types.h"

namespace gradcam {
namespace {

thread_local ForwardHooks* currentHooks = nullptr;

// The same value with tensors that require gradients. Lists and dictionaries stay what they are: the layer
// may add to them.
c10::IValue recorded(const c10::IValue& value) {
  if (value.isTensor()) {
    const at::Tensor& tensor = value.toTensor();
    if (!tensor.defined() || !at::isFloatingType(tensor.scalar_type()) || tensor.requires_grad())
      return value;
    return tensor.detach().requires_grad_(true).clone();  // not the leaf, which the layer could not write to
  }
  if (value.isTuple()) {
    std::vector<c10::IValue> elements;
    for (const c10::IValue& element : value.toTupleRef().elements()) elements.push_back(recorded(element));
    return c10::ivalue::Tuple::createNamed(std::move(elements), value.toTupleRef().type());
  }
  if (value.isList()) {
    auto list = value.toList();
    for (std::size_t index = 0; index < list.size(); ++index) list.set(index, recorded(list.get(index)));
  } else if (value.isGenericDict()) {
    auto dict = value.toGenericDict();
    for (const auto& entry : dict) entry.setValue(recorded(entry.value()));
  }
  return value;
}

void runForwardHook(torch::jit::Stack& stack) {
  const bool clone = torch::jit::pop(stack).toBool();
  const auto callIndex = static_cast<int>(torch::jit::pop(stack).toInt());
  const auto slot = static_cast<int>(torch::jit::pop(stack).toInt());
  c10::IValue output = torch::jit::pop(stack);
  if (ForwardHooks* hooks = ForwardHooks::current())
    output = hooks->keepOutput(output, slot, callIndex, clone);
  torch::jit::push(stack, std::move(output));
}

void runRecordFrom(torch::jit::Stack& stack) {
  c10::IValue argument = torch::jit::pop(stack);
  if (const ForwardHooks* hooks = ForwardHooks::current()) argument = hooks->recordFrom(argument);
  torch::jit::push(stack, std::move(argument));
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

}  // namespace

ForwardHooks::ForwardHooks(Mode mode, const std::vector<TargetLayer>& layers)
    : mode_(mode), restoreGradMode_(false), outer_(currentHooks), callCounts_(layers.size(), 0) {
  for (const TargetLayer& layer : layers) outputs_.push_back(layer.output);
  currentHooks = this;
}

ForwardHooks::ForwardHooks(LayerCall replacement, const std::vector<TargetLayer>& layers)
    : ForwardHooks(Mode::Replace, layers) {
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

c10::IValue ForwardHooks::keepOutput(const c10::IValue& output,
                                     int slot,
                                     int callIndex,
                                     bool cloneForLaterWrites) {
  const OutputSelector& selector = outputs_.at(static_cast<std::size_t>(slot));
  callIndex = nextCallIndex(slot, callIndex);
  if (mode_ == Mode::Replace)
    return isReplaced(slot, callIndex) ? withMaps(output, selector, replacement_.maps) : output;
  LayerCall call{slot, callIndex, mapsOf(output, selector)};
  const bool isTensor = output.isTensor();
  if (call.maps.empty() || (!isTensor && selector.empty())) call.given = describeTensors(tensorsIn(output));
  // An in-place ReLU or += behind the layer must not rewrite what was kept. Alias analysis does not follow
  // tensors into containers.
  const bool clone = cloneForLaterWrites || !isTensor;
  std::vector<at::Tensor> handedOn;
  for (at::Tensor& map : call.maps) {
    // Without floating-point values no gradient can exist; as a missing output, that is reported after
    // forward, for the interpreter would lose the code of what is thrown here.
    const bool hasGradient = at::isFloatingType(map.scalar_type());
    if (hasGradient && mode_ == Mode::KeepForGradient) {
      // Everything before the first hooked layer ran without gradients. From here on they are recorded.
      at::GradMode::set_enabled(true);
      if (!map.requires_grad()) map = map.detach().requires_grad_(true);
    }
    handedOn.push_back(hasGradient && clone ? map.clone() : map);
  }
  calls_.push_back(std::move(call));
  return handedOn.empty() ? output : withMaps(output, selector, handedOn);
}

// One of several outputs may have made another, inside of the layer: autograd has to see that, so it records
// from the layer's arguments on.
c10::IValue ForwardHooks::recordFrom(const c10::IValue& argument) const {
  if (mode_ != Mode::KeepForGradient) return argument;
  at::GradMode::set_enabled(true);
  return recorded(argument);
}

void ForwardHooks::observe(const c10::IValue& output, int slot, bool dependsOnInput) {
  Observation observation{slot, std::nullopt, {}, {}, dependsOnInput};
  for (const at::Tensor& map : mapsOf(output)) observation.shapesOfMaps.push_back(map.sizes().vec());
  if (isOneTensor(output)) {
    observation.shape = output.toTensor().sizes().vec();
  } else {
    for (const auto& [selector, tensor] : tensorsIn(output))
      observation.shapesOfParts.emplace_back(selector, tensor.sizes().vec());
  }
  observations_.push_back(std::move(observation));
}

const c10::Symbol& markSymbol() {
  static const c10::Symbol symbol = registerOperator("mark(t(a) output, int slot) -> t(a)", refuseToRun);
  return symbol;
}

const c10::Symbol& forwardHookSymbol() {
  static const c10::Symbol symbol = registerOperator(
      "forward_hook(t(a) output, int slot, int call_index, bool clone) -> t(a)", runForwardHook);
  return symbol;
}

const c10::Symbol& recordFromSymbol() {
  static const c10::Symbol symbol = registerOperator("record_from(t(a) argument) -> t(a)", runRecordFrom);
  return symbol;
}

const c10::Symbol& observeSymbol() {
  static const c10::Symbol symbol =
      registerOperator("observe(Any output, int slot, bool depends_on_input) -> ()", runObserve,
                       c10::AliasAnalysisKind::CONSERVATIVE);
  return symbol;
}

}  // namespace gradcam
