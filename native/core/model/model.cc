#include "api/model.h"

#include <algorithm>
#include <sstream>

#include "api/failure.h"
#include "core/model/model_state.h"
#include "core/model/row_runs.h"
#include "core/plan/activations_and_gradients.h"
#include "core/process/device_jobs.h"
#include "core/process/host_memory.h"
#include "core/script/argument_conversion.h"
#include "core/script/image_list.h"
#include "core/script/module_facts.h"
#include "core/values/output_tree.h"
#include "core/values/tensor_state.h"

namespace gradcam {
namespace {

std::string keyOf(const std::vector<HookedLayer>& layers) {
  std::string key;
  for (const HookedLayer& layer : layers) {
    key += layer.path + "#" + std::to_string(static_cast<int>(layer.call.kind)) + "." +
           std::to_string(layer.call.index) + (layer.optional ? "?" : "") + describeSelector(layer.output) +
           "\n";
  }
  return key;
}

// "2 batch_norm, 1 dropout"
std::string describe(const std::map<std::string, int>& counts) {
  std::vector<std::string> words;
  for (const auto& [name, count] : counts) words.push_back(std::to_string(count) + " " + name);
  return joined(words);
}

}  // namespace

ModelState::ModelState(torch::jit::Module loaded, at::Device on, DeviceMode wanted, Arguments standard)
    : module(std::move(loaded)),
      device(on),
      mode(wanted),
      defaults(std::move(standard)),
      floatingType_(floatingTypeOf(module)),
      weights_(module) {
  for (const auto& method : module.get_methods())
    facts_[method.name()].ofGraph = batchFactsOf(module, method.name());
}

bool ModelState::runsImagesAlone(const std::string& method) const {
  const auto facts = facts_.find(method);
  return facts != facts_.end() && (facts->second.takesOneImage || facts->second.ofGraph.mixesImages);
}

void ModelState::learnOneImage(const std::string& method) {
  if (const auto facts = facts_.find(method); facts != facts_.end()) facts->second.takesOneImage = true;
}

void ModelState::checkImages(const std::string& method, int64_t images, const std::string& reason) const {
  const auto facts = facts_.find(method);
  if (images < 2 || facts == facts_.end() || !facts->second.takesOneImage) return;
  throw Failure("ERR_INPUT_SHAPE",
                "The model's " + method + " takes one image at a time, and " + std::to_string(images) +
                    " were given. Give one image in each call (an Explainer takes any number of calls), or "
                    "export the model so that its batch may have any size." +
                    (reason.empty() ? "" : " What it said: " + reason));
}

std::vector<ModelWarning> ModelState::warnings() const {
  std::vector<ModelWarning> warnings;
  for (const auto& [method, facts] : facts_) {
    const auto& [training, mixesImages] = facts.ofGraph;
    if (!training.empty())
      warnings.push_back(
          {"training-mode",
           "The model's " + method + " holds operations in training mode: " + describe(training) +
               ". It was traced without model.eval(), and gives other results than the trained "
               "model would. Export it again after model.eval().",
           method});
    if (mixesImages)
      warnings.push_back({"mixes-images",
                          "BatchNorm in the model's " + method +
                              " takes its statistics from the images that run together, so that each changes "
                              "the results of the others. An Explainer runs the images of each call by "
                              "themselves, and methods that change an image run one copy at a time.",
                          method});
    if (facts.takesOneImage)
      warnings.push_back(
          {"one-image",
           "The model's " + method +
               " takes one image at a time: for several together it gave no answer for each, and "
               "for each alone it did. Its trace may hold the batch size, as a view(1, -1) does, or it joins "
               "images to one answer. "
               "An Explainer, and methods that run changed copies of an image, run them one by "
               "one.",
           method});
  }
  return warnings;
}

std::shared_ptr<const Plan> ModelState::plan(const std::string& method,
                                             const std::vector<HookedLayer>& layers,
                                             bool optimize,
                                             bool secondDerivatives) {
  const std::string key = method + (optimize ? "\noptimized\n" : "\nas it is\n") +
                          (secondDerivatives ? "second derivatives\n" : "") + keyOf(layers);
  return plans_.get(key, [&] {
    checkMethod(method);
    for (const HookedLayer& layer : layers) checkLayer(layer.path);
    return finished(Plan::keepOutputs(module, method, layers, optimize, secondDerivatives, weights_));
  });
}

std::shared_ptr<const Plan> ModelState::plainPlan(const std::string& method) {
  return plansOfMethods_.get("plain\n" + method, [&] {
    checkMethod(method);
    return finished(Plan::plain(module, method));
  });
}

std::shared_ptr<const Plan> ModelState::finished(std::shared_ptr<const Plan> plan) const {
  synchronizeStream(device);
  return plan;
}

torch::jit::Kwargs ModelState::prepareArguments(const std::string& method, const Arguments& given) const {
  checkMethod(method);
  const c10::FunctionSchema& schema = module.get_method(method).function().getSchema();
  return convertArguments(schema, given, defaults, {device, floatingTypeOf(module)});
}

void ModelState::checkDefaults() const {
  std::vector<std::string> known, signatures;
  for (const auto& method : module.get_methods()) {
    prepareArguments(method.name(), {});
    const c10::FunctionSchema& schema = method.function().getSchema();
    signatures.push_back(signatureOf(schema));
    for (std::size_t index = 2; index < schema.arguments().size(); ++index)  // behind module and input
      known.push_back(schema.arguments()[index].name());
  }
  for (const auto& [name, value] : defaults) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    throw Failure("ERR_MODEL_ARGUMENTS", "The model has no parameter '" + name +
                                             "' beside its input: it has " + joined(signatures) + ".");
  }
}

ModelInputs ModelState::prepareInputs(const std::string& method, const GivenInputs& inputs) const {
  ModelInputs prepared{{}, prepareArguments(method, inputs.arguments)};
  for (const auto& parts : inputs.tensors) {
    for (const TensorHandle& input : parts)
      prepared.tensors.push_back(prepareInput(input.state().tensor, prepared.tensors.empty()));
  }
  return prepared;
}

ModelInputs ModelState::prepareBatches(const std::string& method,
                                       const GivenInputs& inputs,
                                       at::Tensor* finite) const {
  ModelInputs prepared{{}, prepareArguments(method, inputs.arguments)};
  const bool imageList = method == "forward" && takesImageList(module);
  auto inputsInParts = inputs.tensors;
  if (imageList) {  // one input, however the images were given
    for (std::size_t index = 1; index < inputsInParts.size(); ++index)
      inputsInParts[0].insert(inputsInParts[0].end(), inputsInParts[index].begin(),
                              inputsInParts[index].end());
    inputsInParts.resize(1);
  }
  for (const auto& parts : inputsInParts) {
    std::vector<at::Tensor> tensors;
    for (const TensorHandle& part : parts) {
      const at::Tensor tensor = copyToDevice(part.state().tensor, device);
      tensors.push_back(imageList && tensor.dim() == 3 ? tensor.unsqueeze(0) : tensor);
      const at::Tensor &first = tensors.front(), &last = tensors.back();
      const bool fits = first.dim() == last.dim() && first.dim() > 0 &&
                        first.sizes().slice(1) == last.sizes().slice(1) &&
                        first.scalar_type() == last.scalar_type();
      if (!fits) throw Failure("ERR_INPUT_SHAPE", "The inputs of one batch differ in shape or element type.");
    }
    const at::Tensor whole = tensors.size() == 1 ? tensors.front() : at::cat(tensors);
    prepared.tensors.push_back(prepareInput(whole, prepared.tensors.empty(), finite));
  }
  return prepared;
}

std::shared_ptr<const Plan> ModelState::inputGradientPlan(const std::string& method, bool guidedRelu) {
  return plansOfMethods_.get((guidedRelu ? "guided\n" : "recorded\n") + method, [&] {
    checkMethod(method);
    return finished(Plan::recorded(module, method, guidedRelu));
  });
}

std::shared_ptr<const Plan> ModelState::attentionPlan(const std::string& method) {
  return plansOfMethods_.get("attention\n" + method, [&] {
    checkMethod(method);
    return finished(Plan::keepAttention(module, method));
  });
}

void ModelState::checkInputFinite(const at::Tensor& finite) {
  if (!finite.defined() || finite.item<bool>()) return;
  throw Failure("ERR_INPUT_NOT_FINITE",
                "The input holds NaN or infinite values. Check the preprocessing: a division by zero in the "
                "standard deviation, or an image that was decoded wrongly.");
}

at::Tensor ModelState::prepareInput(at::Tensor tensor, bool isPicture, at::Tensor* finite) const {
  if (tensor.numel() == 0) {
    throw Failure("ERR_INPUT_SHAPE", "The input is empty: every dimension must be at least 1.");
  }
  tensor = copyToDevice(tensor, device);  // first, for a GPU checks and casts faster
  if (at::isFloatingType(tensor.scalar_type())) {
    // Masks among the further inputs hold minus infinity on purpose.
    if (isPicture) {
      at::Tensor isFinite = at::isfinite(tensor).all();
      if (finite != nullptr && !device.is_cpu()) {
        *finite = std::move(isFinite);
      } else {
        checkInputFinite(isFinite);
      }
    }
    if (floatingType_) tensor = tensor.to(*floatingType_);
  }
  return tensor;
}

void ModelState::checkMethod(const std::string& method) const {
  if (module.find_method(method)) return;
  std::vector<std::string> methods;
  for (const auto& each : module.get_methods()) methods.push_back(each.name());
  throw Failure("ERR_NO_FORWARD",
                "The model has no " + method + " method; its methods are: " + joined(methods) + ".")
      .withAvailable(methods);
}

void ModelState::checkLayer(const std::string& path) const {
  if (isFrozen(module)) {
    const auto known = listLayers(module);
    if (std::any_of(known.begin(), known.end(), [&](const auto& value) { return value.path == path; }))
      return;
    const auto values = frozenValueNames(module);
    const std::string list =
        joined({values.end() - std::min<std::ptrdiff_t>(6, values.size()), values.end()});
    throw Failure(
        "ERR_MODEL_FROZEN",
        "The model was frozen (torch.jit.freeze or optimize_for_inference), so its layers have no names any "
        "more and '" +
            path +
            "' cannot be found. Load the file saved before freezing (the library freezes for speed by "
            "itself), or name a value of the frozen graph, such as the last ones: " +
            list + ".")
        .withLayer(path)
        .withAvailable(values);
  }
  const auto layers = listLayers(module);
  const bool known =
      std::any_of(layers.begin(), layers.end(), [&](const auto& layer) { return layer.path == path; });
  if (!known) throw Failure("ERR_UNKNOWN_LAYER", "The model has no layer '" + path + "'.").withLayer(path);
}

Model::Model(std::unique_ptr<ModelState> state) : state_(std::move(state)) {}
Model::~Model() = default;

ModelFacts Model::facts() const {
  const torch::jit::Module& module = state_->module;
  ModelFacts facts{state_->device.str(), std::nullopt,           0,  0,
                   isFrozen(module),     takesImageList(module), {}, {}};
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
                           [&] { return toOutputTree(runForward(*state_->plainPlan(method), prepared)); });
  });
}

}  // namespace gradcam
