#include "core/activations_and_gradients.h"
#include "core/cam/perturbed_runs.h"
#include "core/cam/principal_component.h"
#include "core/failure.h"
#include "core/forward_hooks.h"
#include "core/output_value.h"

namespace gradcam {
namespace {

int64_t channelAxis(const ReshapeTransform& reshape) {
  return reshape.kind == ReshapeTransform::Kind::None ? 1 : -1;
}

// What stands for "this channel is not there": 0 behind a ReLU, else a value far below all others.
double fillOf(const at::Tensor& activation) {
  const double least = activation.min().item<double>();
  return least == 0 ? 0 : least - 1e7;
}

// The share of channels whose activation lies most on the activation's first principal component, as
// pytorch-grad-cam's ratio_channels_to_ablate picks them; all of them for a ratio of 1.
std::vector<int64_t> channelsToAblate(const at::Tensor& maps, double ratio) {
  const int64_t channels = maps.size(1);
  if (ratio >= 1) {
    std::vector<int64_t> all(static_cast<std::size_t>(channels));
    for (int64_t channel = 0; channel < channels; ++channel) all[static_cast<std::size_t>(channel)] = channel;
    return all;
  }
  const auto toUnit = [](const at::Tensor& x) {
    const at::Tensor shifted = x - x.amin(-1, /*keepdim=*/true);
    return shifted / (shifted.amax(-1, /*keepdim=*/true) + 1e-7);
  };
  const at::Tensor projection = toUnit(firstPrincipalProjection(maps)[0].flatten().abs());
  const at::Tensor mask = (projection > 0.01).to(maps.scalar_type());
  const at::Tensor strengths = toUnit(maps[0].flatten(1).abs());
  const at::Tensor share = at::nan_to_num((strengths * mask).sum(1) / strengths.sum(1), 0.0);
  const at::Tensor order = at::argsort(share, /*stable=*/true, /*dim=*/0, /*descending=*/true);
  const auto count = static_cast<int64_t>(static_cast<double>(channels) * ratio);
  const at::Tensor chosen = order.slice(0, 0, std::max<int64_t>(count, 1)).to(at::kCPU).contiguous();
  return {chosen.data_ptr<int64_t>(), chosen.data_ptr<int64_t>() + chosen.numel()};
}

// The prefix's values for one image as they would be for `rows` copies of it.
torch::jit::Stack repeated(const torch::jit::Stack& crossing, int64_t rows, bool tailWrites) {
  torch::jit::Stack stack;
  for (const c10::IValue& value : crossing) {
    if (!value.isTensor() || value.toTensor().dim() == 0 || value.toTensor().size(0) != 1) {
      stack.push_back(tailWrites && value.isTensor() ? value.toTensor().clone() : value);
      continue;
    }
    std::vector<int64_t> sizes = value.toTensor().sizes().vec();
    sizes[0] = rows;
    const at::Tensor copies = value.toTensor().expand(sizes);
    stack.emplace_back(tailWrites ? copies.contiguous() : copies);
  }
  return stack;
}

}  // namespace

at::Tensor ablationCamWeights(const PerturbedRuns& runs,
                              const PerturbedLayer& layer,
                              const std::vector<ResolvedTarget>& targets,
                              double ratio) {
  if (!runs.reshape.batchFirst)
    throw Failure("ERR_UNSUPPORTED",
                  "AblationCAM cannot take layers whose first axis is not the images (batchFirst: false).");
  const at::NoGradGuard noGrad;
  const int64_t images = runs.inputs.at(0).size(0);
  const int64_t axis = channelAxis(runs.reshape);
  const int64_t channels = layer.activation.size(axis);
  at::Tensor weights = at::zeros({static_cast<int64_t>(targets.size()), channels}, at::kDouble);
  for (int64_t image = 0; image < images; ++image) {
    std::vector<c10::IValue> inputs;
    for (const at::Tensor& input : runs.inputs) inputs.emplace_back(input.narrow(0, image, 1));
    const torch::jit::Stack crossing = runs.plan.runPrefix(inputs);
    const at::Tensor activation = layer.activation.narrow(0, image, 1);
    const double fill = fillOf(activation);
    const c10::IValue whole =
        selectValue(runs.plan.runTail(repeated(crossing, 1, runs.plan.tailWrites())), runs.selector);
    const auto chosen = channelsToAblate(applyReshape(activation, runs.reshape, "").to(at::kFloat), ratio);

    const auto total = static_cast<int64_t>(chosen.size());
    for (int64_t first = 0; first < total; first += runs.batchSize) {
      runs.cancellation.throwIfCancelled();
      const int64_t count = std::min(runs.batchSize, total - first);
      std::vector<int64_t> sizes = activation.sizes().vec();
      sizes[0] = count;
      at::Tensor without = activation.expand(sizes).contiguous();
      for (int64_t row = 0; row < count; ++row) {
        const at::Tensor ofRow = without[row];
        ofRow.select(axis < 0 ? axis : axis - 1, chosen[static_cast<std::size_t>(first + row)]).fill_(fill);
      }
      const ForwardHooks hooks(layer.slot, layer.callIndex, without, runs.plan.layers().size());
      const c10::IValue output =
          selectValue(runs.plan.runTail(repeated(crossing, count, runs.plan.tailWrites())), runs.selector);
      for (std::size_t index = 0; index < targets.size(); ++index) {
        if (targets[index].imageIndex != image) continue;
        const double score = scoreOf(targets[index].target, outputOfImage(whole, 0)).item<double>();
        const at::Tensor scores =
            scoresOfRows(targets[index].target, output, count).to(at::kCPU, at::kDouble).contiguous();
        for (int64_t row = 0; row < count; ++row) {
          weights[static_cast<int64_t>(index)][chosen[static_cast<std::size_t>(first + row)]] =
              (score - scores[row].item<double>()) / score;
        }
      }
      runs.advance(count);
    }
  }
  return weights.to(layer.activation.device(), at::kFloat);
}

}  // namespace gradcam
