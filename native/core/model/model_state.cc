#include "core/model/model_state.h"

#include <algorithm>

#include "api/failure.h"
#include "core/process/device_jobs.h"
#include "core/script/image_list.h"
#include "core/script/module_facts.h"

namespace gradcam {
namespace {

std::string keyOf(const std::string& method, const std::vector<TargetLayer>& layers, PlanOptions options) {
  std::string key = method + (options.optimize ? "\noptimized\n" : "\nas it is\n") +
                    (options.gradients ? "" : "no gradients\n") +
                    (options.secondDerivatives ? "second derivatives\n" : "") +
                    (options.optionalLayers ? "optional\n" : "");
  for (const TargetLayer& layer : layers) {
    key += layer.path + "#" + std::to_string(static_cast<int>(layer.call)) + "." +
           std::to_string(layer.callIndex) + describeSelector(layer.output) + "\n";
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

ModelState::ModelState(torch::jit::Module loaded,
                       at::Device on,
                       DeviceMode wanted,
                       Arguments standard,
                       at::ScalarType typeWithoutGradients,
                       std::optional<ExportedFacts> ofProgram)
    : module(std::move(loaded)),
      device(on),
      mode(wanted),
      exported(std::move(ofProgram)),
      defaults(std::move(standard)),
      floatingType_(floatingTypeOf(module)),
      takesImageList_(takesImageList(module)),
      weights_(module, typeWithoutGradients) {
  for (const auto& method : module.get_methods())
    facts_[method.name()].ofGraph = batchFactsOf(module, method.name());
}

std::optional<int64_t> ModelState::exportedBatch() const {
  if (!exported || exported->inputSizes.empty()) return std::nullopt;
  return exported->inputSizes.front();
}

bool ModelState::runsImagesAlone(const std::string& method) const {
  const auto facts = facts_.find(method);
  return facts != facts_.end() && (facts->second.takesOneImage || facts->second.ofGraph.mixesImages);
}

void ModelState::learnOneImage(const std::string& method) {
  if (const auto facts = facts_.find(method); facts != facts_.end()) facts->second.takesOneImage = true;
}

void ModelState::checkImages(const std::string& method, int64_t images, const std::string& reason) const {
  const std::string said = reason.empty() ? "" : " What it said: " + reason;
  if (takesExportedBatch_ && images != exportedBatch()) {
    throw Failure(
        "ERR_INPUT_SHAPE",
        "The program was exported for " + std::to_string(*exportedBatch()) + " images at a time, and " +
            std::to_string(images) +
            " were given. Give so many (an Explainer fills up what is missing), or export it for any "
            "number: torch.export.export(..., dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))." +
            said);
  }
  const auto facts = facts_.find(method);
  if (images < 2 || facts == facts_.end() || !facts->second.takesOneImage) return;
  throw Failure(
      "ERR_INPUT_SHAPE",
      "The model's " + method + " takes one image at a time, and " + std::to_string(images) +
          " were given. Give one image in each call (an Explainer takes any number of calls), or "
          "export the model so that its batch may have any size" +
          (exported ? ": torch.export.export(..., dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))." : ".") +
          said);
}

std::vector<ModelWarning> ModelState::warnings() const {
  std::vector<ModelWarning> warnings;
  if (exported && exported->trainingOperations > 0)
    warnings.push_back(
        {"training-mode",
         "The program was exported in training mode: " + std::to_string(exported->trainingOperations) +
             " operations of it trained. They run as in evaluation, with the statistics that "
             "are stored. Export it again after model.eval().",
         "forward"});
  if (takesExportedBatch_)
    warnings.push_back(
        {"exact-batch",
         "The program takes " + std::to_string(*exportedBatch()) +
             " images at a time, for which it was exported, and no other number. An Explainer fills "
             "up what is missing with copies of the last image.",
         "forward"});
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
                                             const std::vector<TargetLayer>& layers,
                                             PlanOptions options) {
  return plans_.get(keyOf(method, layers, options), [&] {
    checkMethod(method);
    for (const TargetLayer& layer : layers) checkLayer(layer.path);
    return finished(Plan::keepOutputs(module, method, layers, options, weights_));
  });
}

std::shared_ptr<const Plan> ModelState::forwardPlan(const std::string& method) {
  return plansOfMethods_.get("forward\n" + method, [&] {
    checkMethod(method);
    return finished(Plan::withoutGradients(module, method, weights_));
  });
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

std::shared_ptr<const Plan> ModelState::finished(std::shared_ptr<const Plan> plan) const {
  synchronizeStream(device);
  return plan;
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

}  // namespace gradcam
