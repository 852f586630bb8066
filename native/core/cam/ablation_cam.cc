#include "api/failure.h"
#include "core/cam/heatmap.h"
#include "core/cam/perturbed_runs.h"
#include "core/cam/principal_component.h"
#include "core/cam/repeated_rows.h"
#include "core/hooks/forward_hooks.h"
#include "core/plan/plan_run.h"
#include "core/process/host_memory.h"
#include "core/values/output_tree.h"

namespace gradcam {
namespace {

// pytorch-grad-cam's AblationLayerFasterRCNN: the levels of a pyramid are behind no ReLU.
constexpr double kFillOfPyramids = -1000;

int64_t channelAxis(const ReshapeTransform& reshape) {
  const bool first =
      reshape.kind == ReshapeTransform::Kind::None || reshape.kind == ReshapeTransform::Kind::FeaturePyramid;
  return first ? 1 : -1;
}

// What stands for "this channel is not there": 0 behind a ReLU. Elsewhere 0 is a value like others, so one
// that no layer gives: 1e7 below the least, as in pytorch-grad-cam, with which weights are compared. float16
// ends at 65504, and the layers behind make more of the value.
double fillOf(const at::Tensor& activation) {
  const double least = activation.min().item<double>();
  if (least == 0) return 0;
  return activation.scalar_type() == at::kHalf ? least - 4096 : least - 1e7;
}

// The share of channels whose activation lies most on the activation's first principal component, as
// pytorch-grad-cam's ratio_channels_to_ablate picks them; all of them for a ratio of 1.
std::vector<int64_t> channelsToAblate(const at::Tensor& activation, double ratio) {
  const int64_t channels = activation.size(1);
  if (ratio >= 1) {
    std::vector<int64_t> all(static_cast<std::size_t>(channels));
    for (int64_t channel = 0; channel < channels; ++channel) all[static_cast<std::size_t>(channel)] = channel;
    return all;
  }
  const at::Tensor projection = scaleToUnitRange(firstPrincipalProjection(activation).flatten(1).abs())[0];
  const at::Tensor mask = (projection > 0.01).to(activation.scalar_type());
  const at::Tensor strengths = scaleToUnitRange(activation[0].flatten(1).abs());
  const at::Tensor share = at::nan_to_num((strengths * mask).sum(1) / strengths.sum(1), 0.0);
  const at::Tensor order = at::argsort(share, /*stable=*/true, /*dim=*/0, /*descending=*/true);
  const auto count = static_cast<int64_t>(static_cast<double>(channels) * ratio);
  const at::Tensor chosen = order.slice(0, 0, std::max<int64_t>(count, 1)).to(at::kCPU).contiguous();
  return {chosen.data_ptr<int64_t>(), chosen.data_ptr<int64_t>() + chosen.numel()};
}

// A layer of one image, from which channels are taken away.
class AblatedLayer {
 public:
  AblatedLayer(const ActivationsAndGradients::Layer& layer, int64_t image, int64_t channelAxis)
      : layer_(layer), channelAxis_(channelAxis) {
    for (const at::Tensor& map : layer.maps) maps_.push_back(map.detach().narrow(0, image, 1));
    fill_ = layer.isPyramid() ? kFillOfPyramids : fillOf(maps_.at(0));
  }

  // What the layer gives, a row for each of `channels`, without that channel.
  LayerCall without(at::ArrayRef<int64_t> channels) const {
    std::vector<at::Tensor> rows;
    for (const at::Tensor& map : maps_) {
      std::vector<int64_t> sizes = map.sizes().vec();
      sizes[0] = static_cast<int64_t>(channels.size());
      // Of one row, contiguous() copies nothing.
      rows.push_back(map.expand(sizes).clone(at::MemoryFormat::Contiguous));
    }
    std::vector<std::vector<int64_t>> rowsOf(rows.size()), channelsOf(rows.size());
    for (std::size_t row = 0; row < channels.size(); ++row) {
      int64_t channel = channels[row];
      std::size_t map = 0;  // the channels of a pyramid's levels are counted one level behind the other
      for (; channel >= maps_[map].size(channelAxis_); ++map) channel -= maps_[map].size(channelAxis_);
      rowsOf[map].push_back(static_cast<int64_t>(row));
      channelsOf[map].push_back(channel);
    }
    for (std::size_t map = 0; map < rows.size(); ++map) {
      if (rowsOf[map].empty()) continue;
      const at::Device device = rows[map].device();
      rows[map]
          .transpose(1, channelAxis_)
          .index_put_({indexTensor(rowsOf[map], device), indexTensor(channelsOf[map], device)}, fill_);
    }
    return {layer_.slot, layer_.callIndex, std::move(rows)};
  }

  // How many rows fit into half a GiB, at least one: a pyramid of large images has 90 MB a row, and the
  // default of 32 rows would be 3 GB, in each executor. A layer of usual size has all its rows.
  int64_t rowsInMemory() const {
    std::size_t bytes = 1;
    for (const at::Tensor& map : maps_) bytes += map.nbytes();
    return std::max<int64_t>(1, static_cast<int64_t>((std::size_t{1} << 29) / bytes));
  }

 private:
  const ActivationsAndGradients::Layer& layer_;
  const int64_t channelAxis_;
  std::vector<at::Tensor> maps_;  // [1, ...]
  double fill_;
};

}  // namespace

at::Tensor ablationCamWeights(const PerturbedRuns& runs,
                              const ActivationsAndGradients::Layer& layer,
                              const at::Tensor& activation,
                              const std::vector<ResolvedTarget>& targets,
                              double ratio) {
  if (!runs.reshape.batchFirst)
    throw Failure("ERR_UNSUPPORTED",
                  "AblationCAM cannot take layers whose first axis is not the images (batchFirst: false).");
  const at::NoGradGuard noGrad;
  at::Tensor weights = at::zeros({static_cast<int64_t>(targets.size()), activation.size(1)}, at::kDouble);
  const int64_t images = runs.inputs.count();
  const ImageCopies copies(runs.plan, runs.inputs, runs.output.selector(), runs.explained);
  for (int64_t image = 0; image < images; ++image) {
    const RepeatedRows crossing(runs.plan, copies, image);
    const AblatedLayer ablated(layer, image, channelAxis(runs.reshape));
    const auto tail = [&](int64_t rows) {
      return runs.output.of(runTail(runs.plan, crossing.of(rows), copies.of(image, rows)));
    };
    const c10::IValue whole = tail(1);
    checkRows(whole, 1);
    const auto chosen = channelsToAblate(activation.narrow(0, image, 1).to(at::kFloat), ratio);

    const RowRuns rowRuns(runs.state, runs.modelMethod, std::min(runs.batchSize, ablated.rowsInMemory()),
                          whole, images, runs.cancellation);
    const auto channelsOf = [&](int64_t first, int64_t count) {
      return at::ArrayRef<int64_t>(chosen.data() + first, static_cast<std::size_t>(count));
    };
    const auto withoutChannels = [&](int64_t first, int64_t count) {
      const ForwardHooks hooks(ablated.without(channelsOf(first, count)), runs.plan.layers());
      return tail(count);
    };
    const auto weigh = [&](const c10::IValue& output, int64_t first, int64_t count) {
      const auto channels = channelsOf(first, count);
      for (std::size_t index = 0; index < targets.size(); ++index) {
        if (targets[index].imageIndex != image) continue;
        const double score = scoreOf(targets[index].target, outputOfImage(whole, 0)).item<double>();
        const at::Tensor scores =
            scoresOfRows(targets[index].target, output, count).to(at::kCPU, at::kDouble).contiguous();
        for (int64_t row = 0; row < count; ++row) {
          // A score of 0, of a box that no detection matches, has no share that a channel could take away.
          weights[static_cast<int64_t>(index)][channels[static_cast<std::size_t>(row)]] =
              score == 0 ? 0 : (score - scores[row].item<double>()) / score;
        }
      }
      runs.advance(count);
    };
    rowRuns.over(static_cast<int64_t>(chosen.size()), withoutChannels, weigh);
  }
  return weights.to(activation.device(), at::kFloat);
}

}  // namespace gradcam
