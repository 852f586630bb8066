#pragma once

#include <atomic>
#include <map>

#include "api/model.h"
#include "core/exported/exported_module.h"
#include "core/fusion/shared_weights.h"
#include "core/graphs/batch_facts.h"
#include "core/plan/plan.h"
#include "core/plan/plan_cache.h"
#include "core/process/device_jobs.h"
#include "core/process/torch.h"

namespace gradcam {

struct ModelState {
  // `typeWithoutGradients`: see SharedWeights.
  ModelState(torch::jit::Module loaded,
             at::Device on,
             DeviceMode wanted,
             Arguments standard,
             at::ScalarType typeWithoutGradients,
             std::optional<ExportedFacts> ofProgram = std::nullopt);

  const torch::jit::Module module;  // in eval mode, parameters without gradients, never run itself
  const at::Device device;
  const DeviceMode mode;
  const std::optional<ExportedFacts> exported;  // none of TorchScript
  const Arguments defaults;                     // of the methods' parameters, beside the methods' own

  // Plans are built once per method and choice of layers and shared; the least recently used leave first.
  std::shared_ptr<const Plan> plan(const std::string& method,
                                   const std::vector<TargetLayer>& layers,
                                   PlanOptions options);
  // The whole method without gradients.
  std::shared_ptr<const Plan> forwardPlan(const std::string& method);
  // How many plans of layers are kept; never waits for one that is being built.
  std::size_t cachedPlans() const { return plans_.size(); }
  // Bytes of weights that plans keep in oneDNN's order.
  std::size_t packedBytes() const { return weights_.packedBytes(); }
  // The whole method as autograd can record it from the input on, with guided ReLUs if asked for.
  std::shared_ptr<const Plan> inputGradientPlan(const std::string& method, bool guidedRelu);
  // The whole method with hooks behind every softmax, fused attention written out.
  std::shared_ptr<const Plan> attentionPlan(const std::string& method);

  // The method's inputs on the model's device, floating-point ones in the model's type, with the arguments as
  // its parameters want them; an input in several parts as prepareBatches() has it. Throws
  // ERR_MODEL_ARGUMENTS, ERR_INPUT_SHAPE and, for a value of the first that is not finite,
  // ERR_INPUT_NOT_FINITE.
  ModelInputs prepareInputs(const std::string& method, const GivenInputs& inputs) const;
  // The same, where the parts of each input become one batch. Throws ERR_INPUT_SHAPE where they do not fit.
  // With `finite`, a model on a GPU leaves there whether the first input is finite, for checkInputFinite()
  // when something waits for the GPU anyway.
  ModelInputs prepareBatches(const std::string& method,
                             const GivenInputs& inputs,
                             at::Tensor* finite = nullptr) const;
  // Throws ERR_MODEL_ARGUMENTS for a default that no method has a parameter for, or that does not fit one.
  void checkDefaults() const;
  // Throws ERR_INPUT_NOT_FINITE. `finite` is a truth value on any device, or undefined.
  static void checkInputFinite(const at::Tensor& finite);

  // The number of images that a program was exported for, where it is a fixed one.
  std::optional<int64_t> exportedBatch() const;
  // Whether several images of a method must not run together: it does not take them, as was found out when
  // they failed together and not alone, or they would change each other's results.
  bool runsImagesAlone(const std::string& method) const;
  void learnOneImage(const std::string& method);
  // That a program takes the number of images only that it was exported for.
  void learnExportedBatch() { takesExportedBatch_ = true; }
  // Throws ERR_INPUT_SHAPE where a method is known to give no answer for each of so many images. `reason` is
  // how they failed.
  void checkImages(const std::string& method, int64_t images, const std::string& reason = "") const;
  std::vector<ModelWarning> warnings() const;

  // Throws ERR_UNKNOWN_LAYER, ERR_MODEL_FROZEN, ERR_NO_FORWARD.
  void checkMethod(const std::string& method) const;
  void checkLayer(const std::string& path) const;

 private:
  const std::optional<at::ScalarType> floatingType_;
  const bool takesImageList_;
  torch::jit::Kwargs prepareArguments(const std::string& method, const Arguments& given) const;
  at::Tensor prepareInput(at::Tensor tensor, bool isPicture, at::Tensor* finite = nullptr) const;
  // Executors have streams of their own: what building a plan asked of a GPU is done before others see it.
  std::shared_ptr<const Plan> finished(std::shared_ptr<const Plan> plan) const;

  SharedWeights weights_;
  std::atomic<bool> takesExportedBatch_ = false;
  PlanCache plans_{16};
  PlanCache plansOfMethods_{16};  // without layers: the whole method in several forms
  struct MethodFacts {
    BatchFacts ofGraph;
    std::atomic<bool> takesOneImage = false;
  };
  std::map<std::string, MethodFacts> facts_;  // by method; none is added once the model is made
};

}  // namespace gradcam
