#include "api/model.h"

#include "core/model/model_state.h"
#include "core/model/row_runs.h"
#include "core/plan/plan_run.h"
#include "core/process/device_jobs.h"
#include "core/script/argument_conversion.h"
#include "core/script/image_list.h"
#include "core/script/module_facts.h"
#include "core/values/output_tree.h"
#include "core/values/tensor_state.h"

namespace gradcam {

Model::Model(std::unique_ptr<ModelState> state) : state_(std::move(state)) {}
Model::~Model() = default;

ModelFacts Model::facts() const {
  const torch::jit::Module& module = state_->module;
  ModelFacts facts{.device = state_->device.str(),
                   .elementType = std::nullopt,
                   .parameterCount = 0,
                   .byteLength = 0,
                   .frozen = isFrozen(module),
                   .exported = state_->exported.has_value(),
                   .takesImageList = takesImageList(module),
                   .exportedBatch = state_->exportedBatch(),
                   .methods = {},
                   .signatures = {}};
  for (const at::Tensor& parameter : module.parameters()) {
    facts.parameterCount += parameter.numel();
    facts.byteLength += static_cast<int64_t>(parameter.nbytes());
  }
  for (const at::Tensor& buffer : module.buffers()) facts.byteLength += static_cast<int64_t>(buffer.nbytes());
  if (const auto type = floatingTypeOf(module))
    facts.elementType = toHandle(at::empty({0}, *type)).elementType();
  for (const auto& method : module.get_methods()) {
    facts.methods.push_back(method.name());
    facts.signatures.push_back(signatureOf(method.function().getSchema()));
  }
  return facts;
}

std::vector<LayerInfo> Model::layers() const {
  return listLayers(state_->module);
}

std::vector<WeightInfo> Model::weights() const {
  std::vector<WeightInfo> weights;
  for (const auto& named : state_->module.named_parameters())
    weights.push_back({named.name, named.value.sizes().vec()});
  for (const auto& named : state_->module.named_buffers())
    weights.push_back({named.name, named.value.sizes().vec()});
  return weights;
}

std::optional<TensorHandle> Model::weight(const std::string& name) const {
  const auto copyFrom = [&](const auto& list) -> std::optional<TensorHandle> {
    for (const auto& named : list) {
      if (named.name == name) return toHandle(named.value.detach().to(at::kCPU).clone());
    }
    return std::nullopt;
  };
  if (auto parameter = copyFrom(state_->module.named_parameters())) return parameter;
  return copyFrom(state_->module.named_buffers());
}

std::size_t Model::cachedPlans() const {
  return state_->cachedPlans();
}

std::size_t Model::packedBytes() const {
  return state_->packedBytes();
}

std::vector<ModelWarning> Model::warnings() const {
  return state_->warnings();
}

OutputTree Model::run(const std::string& method, const GivenInputs& inputs) const {
  return onDevice(state_->device, state_->mode, [&] {
    const at::NoGradGuard noGrad;
    const ModelInputs prepared = state_->prepareInputs(method, inputs);
    return namingBatchSize(*state_, method, prepared, {},
                           [&] { return toOutputTree(runForward(*state_->forwardPlan(method), prepared)); });
  });
}

}  // namespace gradcam
