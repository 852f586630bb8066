#include "api/failure.h"
#include "core/cam/heatmap.h"
#include "core/cam/model_method.h"
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

// The weights of one image's channels, of its targets: sets [target][channel] of `weights`.
void weighChannels(const ExplainedBatch& batch,
                   const MethodRequest& request,
                   std::size_t layer,
                   int64_t image,
                   const ImageCopies& copies,
                   at::Tensor& weights) {
  const RepeatedRows crossing(batch.plan, copies, image);
  const AblatedLayer ablated(batch.captured.layers()[layer], image, channelAxis(batch.reshape));
  const auto tail = [&](int64_t rows) {
    return batch.output.of(runTail(batch.plan, crossing.of(rows), copies.of(image, rows)));
  };
  const c10::IValue whole = tail(1);
  checkRows(whole, 1);
  std::vector<double> wholeScores(batch.targets.size());
  for (std::size_t index = 0; index < batch.targets.size(); ++index) {
    const ResolvedTarget& target = batch.targets[index];
    if (target.imageIndex == image)
      wholeScores[index] = scoreOf(target.target, outputOfImage(whole, 0)).item<double>();
  }
  const at::Tensor activation = batch.layers[layer].activation.narrow(0, image, 1).to(at::kFloat);
  const auto channels = channelsToAblate(activation, request.ratioToAblate);
  const auto channelsOf = [&](int64_t first, int64_t count) {
    return at::ArrayRef<int64_t>(channels.data() + first, static_cast<std::size_t>(count));
  };
  const auto withoutChannels = [&](int64_t first, int64_t count) {
    const ForwardHooks hooks(ablated.without(channelsOf(first, count)), batch.plan.layers());
    return tail(count);
  };
  const auto weigh = [&](const c10::IValue& output, int64_t first, int64_t count) {
    for (std::size_t index = 0; index < batch.targets.size(); ++index) {
      const double score = wholeScores[index];
      if (score == 0) continue;  // another image's, or of a box without a match: no channel has a share
      const at::Tensor scores =
          scoresOfRows(batch.targets[index].target, output, count).to(at::kCPU, at::kDouble);
      weights[static_cast<int64_t>(index)].index_copy_(0, indexTensor(channelsOf(first, count), at::kCPU),
                                                       (score - scores) / score);
    }
    batch.advance(count);
  };
  const RowRuns runs(batch.state, batch.modelMethod, std::min(request.batchSize, ablated.rowsInMemory()),
                     whole, batch.inputs.count(), batch.cancellation);
  runs.over(static_cast<int64_t>(channels.size()), withoutChannels, weigh);
}

}  // namespace

std::vector<at::Tensor> ablationCam(const ExplainedBatch& batch, const MethodRequest& request) {
  if (!batch.reshape.batchFirst)
    throw Failure("ERR_UNSUPPORTED",
                  "AblationCAM cannot take layers whose first axis is not the images (batchFirst: false).");
  const at::NoGradGuard noGrad;
  const ImageCopies copies(batch.plan, batch.inputs, batch.output.selector(), batch.explained);
  std::vector<at::Tensor> perLayer;
  for (std::size_t layer = 0; layer < batch.layers.size(); ++layer) {
    const at::Tensor& activation = batch.layers[layer].activation;
    at::Tensor weights =
        at::zeros({static_cast<int64_t>(batch.targets.size()), activation.size(1)}, at::kDouble);
    for (int64_t image = 0; image < batch.inputs.count(); ++image)
      weighChannels(batch, request, layer, image, copies, weights);
    perLayer.push_back(weightedMaps(batch, activation, weights.to(at::kFloat), request.eigenSmooth));
  }
  return perLayer;
}

int64_t rowsOfAblationCam(const std::vector<CamLayer>& layers, int64_t images, const MethodRequest& request) {
  const double ratio = std::min(request.ratioToAblate, 1.0);
  int64_t rows = 0;
  for (const CamLayer& layer : layers) {
    const double channels = static_cast<double>(layer.activation.size(1)) * ratio;
    rows += images * std::max<int64_t>(1, static_cast<int64_t>(channels));
  }
  return rows;
}

}  // namespace gradcam
