#include "api/failure.h"
#include "core/cam/heatmap.h"
#include "core/cam/perturbed_runs.h"
#include "core/plan/plan_run.h"
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

}  // namespace

at::Tensor scoreCamWeights(const PerturbedRuns& runs,
                           const at::Tensor& activation,
                           const std::vector<ResolvedTarget>& targets) {
  const at::NoGradGuard noGrad;
  const int64_t channels = activation.size(1);
  const at::Tensor& images = runs.inputs.images();
  const auto sizes = spatialSizesFor(activation.sizes().slice(2), images.sizes());
  if (sizes.empty())
    throw Failure("ERR_UNSUPPORTED",
                  "ScoreCAM lays the layer's map over the input, and the axes of the two have nothing to do "
                  "with each other here. Choose another method.");
  const ImageCopies copies(runs.plan, runs.inputs, runs.output.selector(), runs.explained);
  const RowRuns rowRuns(runs.state, runs.modelMethod, runs.batchSize, runs.explained, images.size(0),
                        runs.cancellation);
  std::vector<at::Tensor> weights(targets.size());
  for (int64_t image = 0; image < images.size(0); ++image) {
    std::vector<std::vector<at::Tensor>> scores(targets.size());
    const auto masked = [&](int64_t first, int64_t count) {
      const at::Tensor masks = masksOf(activation[image].narrow(0, first, count), sizes);
      const at::Tensor seen = multiplied(images.narrow(0, image, 1), overAxesOf(images, masks));
      return runs.output.of(runForward(runs.plan, copies.of(image, count).with(seen)));
    };
    rowRuns.over(channels, masked, [&](const c10::IValue& output, int64_t, int64_t count) {
      for (std::size_t index = 0; index < targets.size(); ++index) {
        if (targets[index].imageIndex != image) continue;
        // On the CPU: progress and cancellation are those of a GPU's work, not of its queue.
        scores[index].push_back(scoresOfRows(targets[index].target, output, count).to(at::kCPU));
      }
      runs.advance(count);
    });
    for (std::size_t index = 0; index < targets.size(); ++index) {
      if (targets[index].imageIndex == image) weights[index] = at::cat(scores[index]).softmax(0);
    }
  }
  return at::stack(weights).to(activation.device(), activation.scalar_type());
}

}  // namespace gradcam
