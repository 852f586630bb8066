#include "core/cam/full_grad.h"

#include "core/activations_and_gradients.h"
#include "core/cam/heatmap.h"
#include "core/device_stream.h"
#include "core/failure.h"
#include "core/model_state.h"
#include "core/output_value.h"
#include "core/stopwatch.h"
#include "core/target_scores.h"
#include "core/tensor_state.h"

namespace gradcam {
namespace {

struct BiasedLayer {
  std::string path;
  at::Tensor bias;  // [C], a BatchNorm's with its running mean taken in
};

at::Tensor attributeOrUndefined(const torch::jit::Module& module, const char* name) {
  if (!module.hasattr(name) || !module.attr(name).isTensor()) return {};
  return module.attr(name).toTensor();
}

std::vector<BiasedLayer> biasedLayers(const torch::jit::Module& model) {
  std::vector<BiasedLayer> layers;
  for (const auto& named : model.named_modules()) {
    const std::string type = named.value.type()->name()->name();
    const bool convolution = type.rfind("Conv", 0) == 0 && type.rfind("ConvTranspose", 0) != 0;
    const bool norm = type.rfind("BatchNorm", 0) == 0;
    at::Tensor bias = convolution || norm ? attributeOrUndefined(named.value, "bias") : at::Tensor();
    if (!bias.defined()) continue;
    if (norm) {
      const at::Tensor mean = attributeOrUndefined(named.value, "running_mean");
      const at::Tensor variance = attributeOrUndefined(named.value, "running_var");
      const at::Tensor weight = attributeOrUndefined(named.value, "weight");
      // Traced files keep no `eps` attribute; PyTorch's default then.
      const double epsilon = named.value.hasattr("eps") ? named.value.attr("eps").toDouble() : 1e-5;
      if (mean.defined() && variance.defined() && weight.defined())
        bias = bias - mean * weight / at::sqrt(variance + epsilon);
    }
    layers.push_back({named.name, bias});
  }
  return layers;
}

// [B, C, ...space] -> [B, ...size]: each channel's magnitude scaled to 0..1, all channels added and resized.
at::Tensor sumOfScaledChannels(const at::Tensor& terms, at::IntArrayRef size, Upsampling how) {
  const at::Tensor channels = scaleToUnitRange(terms.abs().flatten(0, 1)).view_as(terms);
  return resizeMaps(channels.sum(1), size, how);  // resizing is linear: the sum may come first
}

at::Tensor inFullPrecision(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kDouble ? tensor : tensor.to(at::kFloat);
}

}  // namespace

Explanation fullGrad(const Model& model, const ExplainRequest& request, const Cancellation& cancellation) {
  ModelState& state = model.state();
  const DeviceStream stream(state.device);
  Explanation explanation;
  Stopwatch stopwatch;
  state.checkMethod(request.modelMethod);
  const auto biased = biasedLayers(state.module);
  std::vector<HookedLayer> hooked;
  for (const BiasedLayer& layer : biased) hooked.push_back({layer.path, {CallChoice::Kind::All, 0}});
  const auto plan = state.plan(request.modelMethod, hooked, /*optimize=*/false);
  explanation.timings.plan = stopwatch.lap();

  std::vector<at::Tensor> inputs = state.prepareBatches(request.inputs);
  if (inputs.at(0).dim() < 3 || !at::isFloatingType(inputs.at(0).scalar_type()))
    throw Failure("ERR_INPUT_SHAPE", "FullGrad needs a batch of floating-point images, signals or volumes.");
  const at::Tensor input = inputs[0].detach().requires_grad_(true);
  inputs[0] = input;
  const at::AutoGradMode record(true);
  const ActivationsAndGradients captured(*plan, inputs, /*recordFromInput=*/true);
  const c10::IValue explained = selectValue(captured.output(), request.output);
  const auto targets = resolveTargets(explained, request.targets, input.size(0));
  const at::Tensor scores = scoresOf(explained, targets);
  explanation.timings.forward = stopwatch.lap();

  std::vector<at::Tensor> wanted = {input};
  for (const auto& layer : captured.layers()) wanted.push_back(layer.activation);
  const auto size = input.sizes().slice(2).vec();
  std::vector<at::Tensor> maps(targets.size());
  for (int64_t walk = 0; walk < static_cast<int64_t>(targets.size()); ++walk) {
    std::vector<int64_t> rows;
    for (std::size_t row = 0; row < targets.size(); ++row) {
      if (targets[row].targetIndex == walk) rows.push_back(static_cast<int64_t>(row));
    }
    if (rows.empty()) break;
    cancellation.throwIfCancelled();
    const at::Tensor indices = at::tensor(rows, at::TensorOptions().dtype(at::kLong)).to(scores.device());
    const auto gradients = torch::autograd::grad({scores.index_select(0, indices).sum()}, wanted, {},
                                                 /*retain_graph=*/true, false, /*allow_unused=*/true);
    if (!gradients[0].defined())
      throw Failure("ERR_LAYER_DISCONNECTED", "The target score does not depend on the input.");
    at::Tensor sum =
        sumOfScaledChannels(inFullPrecision((gradients[0] * input).detach()), size, request.upsample);
    for (std::size_t index = 0; index < captured.layers().size(); ++index) {
      const at::Tensor& gradient = gradients[index + 1];
      if (!gradient.defined() || gradient.dim() != input.dim()) continue;
      const at::Tensor& bias = biased[static_cast<std::size_t>(captured.layers()[index].slot)].bias;
      std::vector<int64_t> sizes(static_cast<std::size_t>(gradient.dim()), 1);
      sizes[1] = bias.size(0);
      sum = sum + sumOfScaledChannels(inFullPrecision((gradient * bias.view(sizes)).detach()), size,
                                      request.upsample);
    }
    sum = scaleToUnitRange(sum).to(at::kCPU, at::kFloat);
    for (const int64_t row : rows)
      maps[static_cast<std::size_t>(row)] = sum[targets[static_cast<std::size_t>(row)].imageIndex];
  }
  explanation.timings.backward = stopwatch.lap();

  const at::Tensor values = scores.detach().to(at::kCPU, at::kDouble).contiguous();
  std::vector<bool> positive;
  for (std::size_t index = 0; index < targets.size(); ++index) {
    const ResolvedTarget& target = targets[index];
    explanation.maps.push_back(
        {target.imageIndex, target.targetIndex, target.classIndex, values.data_ptr<double>()[index]});
    positive.push_back(maps[index].max().item<float>() > 0);
  }
  explanation.methods.push_back({toHandle(at::stack(maps).contiguous()), std::move(positive)});
  explanation.outputs = toOutputTree(captured.output());
  return explanation;
}

}  // namespace gradcam
