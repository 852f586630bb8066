#include "core/cam/full_grad.h"

#include "api/failure.h"
#include "core/cam/heatmap.h"
#include "core/cam/principal_component.h"
#include "core/plan/activations_and_gradients.h"
#include "core/plan/derivatives.h"
#include "core/process/stopwatch.h"
#include "core/script/module_facts.h"
#include "core/targets/target_walks.h"
#include "core/values/image_axes.h"
#include "core/values/output_tree.h"
#include "core/values/tensor_types.h"

namespace gradcam {
namespace {

struct BiasedLayer {
  std::string path;
  at::Tensor bias;  // [C], a BatchNorm's with its running mean taken in
};

std::vector<BiasedLayer> biasedLayers(const torch::jit::Module& model) {
  std::vector<BiasedLayer> layers;
  for (const auto& named : model.named_modules()) {
    const std::string type = named.value.type()->name()->name();
    const bool convolution = type.rfind("Conv", 0) == 0 && type.rfind("ConvTranspose", 0) != 0;
    const bool norm = type.rfind("BatchNorm", 0) == 0;
    at::Tensor bias = convolution || norm ? tensorAttribute(named.value, "bias") : at::Tensor();
    if (!bias.defined()) continue;
    if (norm) {
      const at::Tensor mean = tensorAttribute(named.value, "running_mean");
      const at::Tensor variance = tensorAttribute(named.value, "running_var");
      const at::Tensor weight = tensorAttribute(named.value, "weight");
      // Traced files keep no `eps` attribute; PyTorch's default then.
      const double epsilon = named.value.hasattr("eps") ? named.value.attr("eps").toDouble() : 1e-5;
      if (mean.defined() && variance.defined() && weight.defined())
        bias = bias - mean * weight / at::sqrt(variance + epsilon);
    }
    layers.push_back({named.name, bias});
  }
  return layers;
}

// [B, C, ...space]: each channel of each image scaled to 0..1.
at::Tensor scaledChannels(const at::Tensor& terms) {
  return scaleToUnitRange(terms.flatten(0, 1)).view_as(terms);
}

// The terms, [B, T, ...size], as one map each: their first principal component, taken at an eighth of the
// size since there are many.
at::Tensor projectTerms(const at::Tensor& terms, at::IntArrayRef size, Upsampling how) {
  std::vector<int64_t> eighth;
  for (const int64_t length : size) eighth.push_back(std::max<int64_t>(1, length / 8));
  const at::Tensor small = resizeChannels(scaledChannels(terms), eighth);
  return resizeMaps(scaleToUnitRange(firstPrincipalProjection(small)), size, how);
}

}  // namespace

NetworkMaps fullGrad(ModelState& state,
                     const ExplainRequest& request,
                     const ModelInputs& inputs,
                     const ExplainedOutput& output,
                     const std::vector<ResolvedTarget>* resolved,
                     const Cancellation& cancellation,
                     StageTimings& timings) {
  Stopwatch stopwatch;
  state.checkMethod(request.modelMethod);
  if (isFrozen(state.module))
    throw Failure("ERR_MODEL_FROZEN",
                  "FullGrad needs the biases of the model's layers, and the model was frozen, so it has no "
                  "layers any more. "
                  "Load the file saved before freezing.");
  const auto biased = biasedLayers(state.module);
  std::vector<TargetLayer> layers;
  for (const BiasedLayer& layer : biased) layers.push_back({layer.path, CallKind::All});
  // A forward need not call them all: auxiliary heads, the other tower of a CLIP.
  const auto plan = state.plan(request.modelMethod, layers, {.optimize = false, .optionalLayers = true});
  timings.plan += stopwatch.lap();

  if (inputs.images().dim() < 3 || !at::isFloatingType(inputs.images().scalar_type()))
    throw Failure("ERR_INPUT_SHAPE", "FullGrad needs a batch of floating-point images, signals or volumes.");
  const at::Tensor input = inputs.images().detach().requires_grad_(true);
  const at::AutoGradMode record(true);
  const ActivationsAndGradients captured(*plan, inputs.with(input), /*recordFromInput=*/true);
  const c10::IValue explained = output.of(captured.output());
  const auto targets = targetsOf(explained, request.targets, input.size(0), resolved);
  const TargetWalks walks(targets);
  const at::Tensor scores = scoresOf(explained, targets);
  timings.forward += stopwatch.lap();

  std::vector<at::Tensor> wanted = {input};
  std::vector<at::Tensor> biases;
  for (const auto& layer : captured.layers()) {
    if (layer.isPyramid()) continue;  // of several outputs it cannot be told whose the bias is
    wanted.push_back(layer.maps.at(0));
    biases.push_back(biased[static_cast<std::size_t>(layer.slot)].bias);
  }
  const auto size = spatialSizes(input.sizes());
  std::vector<at::Tensor> maps;  // of each walk
  for (std::size_t walk = 0; walk < walks.count(); ++walk) {
    cancellation.throwIfCancelled();
    const auto gradients = derivatives(walks.loss(scores, walk), wanted, /*retainGraph=*/!walks.isLast(walk));
    if (!gradients[0].defined())
      throw Failure("ERR_LAYER_DISCONNECTED", "The target score does not depend on the input.");
    // Of the input a term for each channel, of each layer one: the sum of its channels.
    const at::Tensor ofInput = inFullPrecision((gradients[0] * input).detach().abs());
    std::vector<at::Tensor> terms = {scaledChannels(ofInput.movedim(channelAxisOf(input.sizes()), 1))};
    for (std::size_t index = 0; index < biases.size(); ++index) {
      const at::Tensor& gradient = gradients[index + 1];
      // No map of the images: linear layers, and what runs on windows or on one image at a time.
      if (!gradient.defined() || gradient.dim() != input.dim() || gradient.size(0) != input.size(0)) continue;
      const at::Tensor ofLayer =
          inFullPrecision((gradient * asFactorsOf(gradient, biases[index].unsqueeze(0))).detach().abs());
      // Resizing is linear: the sum may come first.
      terms.push_back(resizeMaps(scaledChannels(ofLayer).sum(1), size, request.upsample).unsqueeze(1));
    }
    const at::Tensor stacked = at::cat(terms, 1);
    const bool project = request.methods.at(0).eigenSmooth;
    const at::Tensor sum = project ? projectTerms(stacked, size, request.upsample) : stacked.sum(1);
    maps.push_back(scaleToUnitRange(sum).to(at::kCPU, at::kFloat));
  }
  timings.backward += stopwatch.lap();
  return {walks.ofTargets(maps), captured.output(), targets, scoreValues(scores)};
}

}  // namespace gradcam
