#include "core/fusion/fused_batch_norm.h"

#include <limits>
#include <numeric>

#include "core/fusion/channel_loops.h"
#include "core/fusion/channels_last.h"
#include "core/fusion/fused_activation.h"
#include "core/fusion/fused_convolution.h"
#include "core/process/parallel_loop.h"
#include "core/script/operator_arguments.h"
#include "core/script/own_operators.h"

namespace gradcam {
namespace {

// So many places are written part by part, in the processor's first cache.
constexpr int64_t kPlacesAtOnce = 8;

void runFusedBatchNorm(torch::jit::Stack& stack) {
  const std::vector<at::Tensor> parts = torch::jit::pop(stack).toTensorVector();
  const auto norm = c10::static_intrusive_pointer_cast<FusedBatchNorm>(torch::jit::pop(stack).toCapsule());
  torch::jit::push(stack, norm->run(parts));
}

}  // namespace

std::optional<FusedBatchNorm::Parameters> FusedBatchNorm::of(const torch::jit::Node* node) {
  if (node->kind() != c10::aten::batch_norm) return std::nullopt;
  const auto mean = constantInput(node, "running_mean");
  const auto variance = constantInput(node, "running_var");
  const auto weight = constantInput(node, "weight");
  const auto bias = constantInput(node, "bias");
  const auto epsilon = constantInput(node, "eps");
  if (constantInput(node, "training") != c10::IValue(false) || !epsilon || !weight || !bias)
    return std::nullopt;
  if (!mean || !mean->isTensor() || !variance || !variance->isTensor()) return std::nullopt;
  return Parameters{mean->toTensor(), variance->toTensor(), weight->toOptional<at::Tensor>(),
                    bias->toOptional<at::Tensor>(), epsilon->toDouble()};
}

FusedBatchNorm::FusedBatchNorm(Parameters parameters, bool relu)
    : parameters_(std::move(parameters)), relu_(relu) {
  const auto& [mean, variance, weight, bias, epsilon] = parameters_;
  const auto [scale, shift] = FoldedBatchNorm::of(mean, variance, weight, bias, epsilon);
  scale_ = scale.contiguous();
  shift_ = shift.contiguous();
}

// Whether all are images or volumes.
bool FusedBatchNorm::canRun(const std::vector<at::Tensor>& parts) const {
  int64_t channels = 0;
  for (const at::Tensor& part : parts) {
    if (!part.is_cpu() || part.scalar_type() != at::kFloat || part.layout() != at::kStrided ||
        (part.dim() != 4 && part.dim() != 5) || part.numel() == 0)
      return false;
    // As LibTorch decides which order the result has.
    if (part.suggest_memory_format() != channelsLastOf(part) || !isChannelsLastImage(part)) return false;
    const at::Tensor& first = parts.front();
    if (part.size(0) != first.size(0) || part.sizes().slice(2) != first.sizes().slice(2)) return false;
    channels += part.size(1);
  }
  return channels > 0 && channels == scale_.numel();
}

at::Tensor FusedBatchNorm::run(const std::vector<at::Tensor>& parts) const {
  std::vector<at::Tensor> images;
  for (const at::Tensor& part : parts) images.push_back(asImage(part));
  if (!canRun(images)) return runAsWritten(parts);
  const at::Tensor& first = images.front();
  const int64_t channels = scale_.numel(), places = first.numel() / first.size(1);
  std::vector<int64_t> sizes = first.sizes().vec();
  sizes[1] = channels;
  at::Tensor result = at::empty(sizes, first.options().memory_format(channelsLastOf(first)));
  std::vector<std::pair<const float*, int64_t>> rows;
  for (const at::Tensor& part : images) rows.emplace_back(part.const_data_ptr<float>(), part.size(1));
  const auto *scale = scale_.const_data_ptr<float>(), *shift = shift_.const_data_ptr<float>();
  auto* to = result.mutable_data_ptr<float>();
  const float least = relu_ ? 0.0F : -std::numeric_limits<float>::infinity();
  parallelLoop(places, channels, [&](int64_t begin, int64_t end) {
    for (int64_t place = begin; place < end; place += kPlacesAtOnce) {
      const int64_t count = std::min(kPlacesAtOnce, end - place);
      int64_t channel = 0;
      for (const auto& [from, ofPart] : rows) {
        normalizeChannels(from + place * ofPart, count, ofPart, scale + channel, shift + channel, least,
                          to + place * channels + channel, channels);
        channel += ofPart;
      }
    }
  });
  return asGiven(result, parts.front().dim());
}

at::Tensor FusedBatchNorm::runAsWritten(const std::vector<at::Tensor>& parts) const {
  static const auto batchNorm = *findTorchOperator("aten::batch_norm");
  const auto& [mean, variance, weight, bias, epsilon] = parameters_;
  const at::Tensor x = parts.size() == 1 ? parts.front() : at::cat(parts, 1);
  const at::Tensor result = callTorchOperator(batchNorm, {x, weight, bias, mean, variance, /*training=*/false,
                                                          /*momentum=*/0.0, epsilon, /*cudnn=*/false});
  return relu_ ? at::relu(result) : result;
}

const c10::Symbol& fusedBatchNormSymbol() {
  static const c10::Symbol symbol =
      registerOperator("fused_batch_norm(Any norm, Tensor[] parts) -> Tensor", runFusedBatchNorm);
  return symbol;
}

}  // namespace gradcam
