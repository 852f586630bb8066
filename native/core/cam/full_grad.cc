#include "api/failure.h"
#include "core/cam/heatmap.h"
#include "core/cam/network_method.h"
#include "core/cam/principal_component.h"
#include "core/plan/derivatives.h"
#include "core/process/stopwatch.h"
#include "core/script/module_facts.h"
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

std::vector<BiasedLayer> checkedLayers(const torch::jit::Module& model) {
  if (!isFrozen(model)) return biasedLayers(model);
  throw Failure("ERR_MODEL_FROZEN",
                "FullGrad needs the biases of the model's layers, and the model was frozen, so it has no "
                "layers any more. Load the file saved before freezing.");
}

// What is looked at: the images, and of each layer its output with its bias.
struct BiasedOutputs {
  std::vector<at::Tensor> tensors;  // the images first
  std::vector<at::Tensor> biases;   // of the tensors behind the images
};

BiasedOutputs biasedOutputs(const NetworkForward& forward, const std::vector<BiasedLayer>& layers) {
  BiasedOutputs outputs{{forward.images}, {}};
  for (const auto& layer : forward.captured.layers()) {
    if (layer.isPyramid()) continue;  // of several outputs it cannot be told whose the bias is
    outputs.tensors.push_back(layer.maps.at(0));
    outputs.biases.push_back(layers[static_cast<std::size_t>(layer.slot)].bias);
  }
  return outputs;
}

// What the gradients of one walk make of the images and the biases, [B, T, ...size]: of the images a term for
// each channel, of each layer one, the sum of its channels.
at::Tensor termsOf(const at::Tensor& images,
                   const BiasedOutputs& outputs,
                   const std::vector<at::Tensor>& gradients,
                   Upsampling how) {
  const at::Tensor ofImages = inFullPrecision((gradients[0] * images).detach().abs());
  std::vector<at::Tensor> terms = {scaledChannels(ofImages.movedim(channelAxisOf(images.sizes()), 1))};
  for (std::size_t index = 0; index < outputs.biases.size(); ++index) {
    const at::Tensor& gradient = gradients[index + 1];
    // No map of the images: linear layers, and what runs on windows or on one image at a time.
    if (!gradient.defined() || gradient.dim() != images.dim() || gradient.size(0) != images.size(0)) continue;
    const at::Tensor bias = asFactorsOf(gradient, outputs.biases[index].unsqueeze(0));
    const at::Tensor ofLayer = inFullPrecision((gradient * bias).detach().abs());
    // Resizing is linear: the sum may come first.
    terms.push_back(
        resizeMaps(scaledChannels(ofLayer).sum(1), spatialSizes(images.sizes()), how).unsqueeze(1));
  }
  return at::cat(terms, 1);
}

}  // namespace

NetworkMaps fullGrad(const NetworkBatch& batch) {
  Stopwatch stopwatch;
  const ExplainRequest& request = batch.request;
  batch.state.checkMethod(request.modelMethod);
  const auto biased = checkedLayers(batch.state.module);
  std::vector<TargetLayer> layers;
  for (const BiasedLayer& layer : biased) layers.push_back({layer.path, CallKind::All});
  // A forward need not call them all: auxiliary heads, the other tower of a CLIP.
  const auto plan =
      batch.state.plan(request.modelMethod, layers, {.optimize = false, .optionalLayers = true});
  batch.timings.plan += stopwatch.lap();

  const at::Tensor& images = batch.inputs.images();
  if (images.dim() < 3 || !at::isFloatingType(images.scalar_type()))
    throw Failure("ERR_INPUT_SHAPE", "FullGrad needs a batch of floating-point images, signals or volumes.");
  const NetworkForward forward(batch, *plan, /*recordFromImages=*/true);
  batch.timings.forward += stopwatch.lap();

  const BiasedOutputs outputs = biasedOutputs(forward, biased);
  std::vector<at::Tensor> maps;  // of each walk
  for (std::size_t walk = 0; walk < forward.walks.count(); ++walk) {
    batch.cancellation.throwIfCancelled();
    const auto gradients = derivatives(forward.walks.loss(forward.scores, walk), outputs.tensors,
                                       /*retainGraph=*/!forward.walks.isLast(walk));
    if (!gradients[0].defined())
      throw Failure("ERR_LAYER_DISCONNECTED", "The target score does not depend on the input.");
    const at::Tensor terms = termsOf(forward.images, outputs, gradients, request.upsample);
    const bool project = request.methods.at(0).eigenSmooth;
    const at::Tensor sum =
        project ? projectTerms(terms, spatialSizes(images.sizes()), request.upsample) : terms.sum(1);
    maps.push_back(scaleToUnitRange(sum).to(at::kCPU, at::kFloat));
  }
  batch.timings.backward += stopwatch.lap();
  return forward.maps(forward.walks.ofTargets(maps));
}

}  // namespace gradcam
