#include <optional>

#include "api/failure.h"
#include "core/cam/heatmap.h"
#include "core/cam/model_method.h"
#include "core/plan/plan_run.h"
#include "core/process/host_memory.h"
#include "core/values/image_axes.h"
#include "core/values/output_tree.h"

namespace gradcam {
namespace {

// [channels, ...space] -> [channels, ...size], each channel scaled to 0..1, as pytorch-grad-cam does.
at::Tensor masksOf(const at::Tensor& channels, at::IntArrayRef size) {
  return scaleToUnitRange(resizeMaps(channels, size, Upsampling::Linear, /*alignCorners=*/true),
                          /*epsilon=*/1e-8);
}

// [rows, ...size] as factors of the images, wherever their channels are, if there are any.
at::Tensor overAxesOf(const at::Tensor& images, const at::Tensor& masks) {
  return masks.dim() == images.dim() ? masks : masks.unsqueeze(channelAxisOf(images.sizes()));
}

// Channels that are 0 everywhere all black out the image: behind a ReLU they may be a third of all, and one
// run serves them.
struct DistinctChannels {
  std::vector<int64_t> channels;  // those to run
  std::vector<int64_t> runOf;     // of each channel its place among them
};

// `channels` is [C, ...space].
DistinctChannels distinctChannels(const at::Tensor& channels) {
  const at::Tensor isUsed = channels.ne(0).flatten(1).any(1).to(at::kCPU);
  DistinctChannels distinct;
  std::optional<int64_t> unused;
  for (int64_t channel = 0; channel < isUsed.size(0); ++channel) {
    const auto next = static_cast<int64_t>(distinct.channels.size());
    const bool used = isUsed.data_ptr<bool>()[channel];
    distinct.runOf.push_back(used ? next : unused.value_or(next));
    if (used || !unused) distinct.channels.push_back(channel);
    if (!used && !unused) unused = next;
  }
  return distinct;
}

// [N, C]
at::Tensor weightsOf(const ExplainedBatch& batch, const at::Tensor& activation, int64_t rowsOfRun) {
  const at::NoGradGuard noGrad;
  const at::Tensor& images = batch.inputs.images();
  const auto sizes = spatialSizesFor(activation.sizes().slice(2), images.sizes());
  if (sizes.empty())
    throw Failure("ERR_UNSUPPORTED",
                  "ScoreCAM lays the layer's map over the input, and the axes of the two have nothing to do "
                  "with each other here. Choose another method.");
  const ImageCopies copies(batch.plan, batch.inputs, batch.output.selector(), batch.explained);
  const RowRuns runs(batch.state, batch.modelMethod, rowsOfRun, batch.explained, images.size(0),
                     batch.cancellation);
  const auto& targets = batch.targets;
  std::vector<at::Tensor> weights(targets.size());
  for (int64_t image = 0; image < images.size(0); ++image) {
    const DistinctChannels distinct = distinctChannels(activation[image]);
    const auto rows = static_cast<int64_t>(distinct.channels.size());
    const at::Tensor channels =
        activation[image].index_select(0, indexTensor(distinct.channels, activation.device()));
    std::vector<std::vector<at::Tensor>> scores(targets.size());
    const auto masked = [&](int64_t first, int64_t count) {
      const at::Tensor masks = masksOf(channels.narrow(0, first, count), sizes);
      const at::Tensor seen = multiplied(images.narrow(0, image, 1), overAxesOf(images, masks));
      return batch.output.of(runForward(batch.plan, copies.of(image, seen)));
    };
    runs.over(rows, masked, [&](const c10::IValue& output, int64_t, int64_t count) {
      for (std::size_t index = 0; index < targets.size(); ++index) {
        if (targets[index].imageIndex != image) continue;
        // On the CPU: progress and cancellation are those of a GPU's work, not of its queue.
        scores[index].push_back(scoresOfRows(targets[index].target, output, count).to(at::kCPU));
      }
      batch.advance(count);
    });
    if (rows < activation.size(1)) batch.advance(activation.size(1) - rows);
    const at::Tensor runOf = indexTensor(distinct.runOf, at::kCPU);
    for (std::size_t index = 0; index < targets.size(); ++index) {
      if (targets[index].imageIndex == image)
        weights[index] = at::cat(scores[index]).index_select(0, runOf).softmax(0);
    }
  }
  return at::stack(weights);
}

}  // namespace

std::vector<at::Tensor> scoreCam(const ExplainedBatch& batch, const MethodRequest& request) {
  std::vector<at::Tensor> perLayer;
  for (const CamLayer& layer : batch.layers) {
    const at::Tensor weights = weightsOf(batch, layer.activation, request.batchSize);
    perLayer.push_back(weightedMaps(batch, layer.activation, weights, request.eigenSmooth));
  }
  return perLayer;
}

int64_t rowsOfScoreCam(const std::vector<CamLayer>& layers, int64_t images, const MethodRequest&) {
  int64_t rows = 0;
  for (const CamLayer& layer : layers) rows += images * layer.activation.size(1);
  return rows;
}

}  // namespace gradcam
