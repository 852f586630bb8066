#include "api/perturbed_scores.h"

#include <sstream>

#include "api/failure.h"
#include "core/analysis/pixel_removal.h"
#include "core/model/model_state.h"
#include "core/model/row_runs.h"
#include "core/plan/plan_run.h"
#include "core/process/device_jobs.h"
#include "core/targets/target_scores.h"
#include "core/values/output_tree.h"
#include "core/values/tensor_state.h"

namespace gradcam {
namespace {

class PerturbedRun {
 public:
  PerturbedRun(ModelState& state,
               const PerturbedScoresRequest& request,
               const ModelInputs& inputs,
               const Cancellation& cancellation)
      : state_(state),
        request_(request),
        cancellation_(cancellation),
        plan_(state.forwardPlan(request.modelMethod)),
        inputs_(inputs) {
    if (request.heatmaps) heatmaps_ = request.heatmaps->state().tensor.to(at::kCPU, at::kFloat).contiguous();
    const at::Tensor& images = inputs_.images();
    const bool fits = !request.heatmaps ||
                      (images.dim() == 4 && heatmaps_.dim() == 3 && heatmaps_.size(0) == images.size(0) &&
                       heatmaps_.sizes().slice(1) == images.sizes().slice(2));
    if (!fits) {
      std::ostringstream message;
      message << "Heatmaps of shape " << heatmaps_.sizes() << " do not belong to images of shape "
              << images.sizes() << ": metrics need images [B, C, H, W] and one heatmap [H, W] for each.";
      throw Failure("ERR_INPUT_SHAPE", message.str());
    }
  }

  PerturbedScores run() {
    // Targets such as "the predicted class" are those of the image as it is.
    const c10::IValue asItIs = explained(inputs_);
    targets_ = resolveTargets(asItIs, request_.targets, inputs_.count());
    if (static_cast<int64_t>(targets_.size()) != inputs_.count())
      throw Failure("ERR_TARGET_COUNT", "Metrics need exactly one target for each image.");
    const Perturbation::Kind kind = request_.perturbation.kind;
    if (kind == Perturbation::Kind::DeletionCurve || kind == Perturbation::Kind::InsertionCurve)
      return {toHandle(curves(asItIs)), std::nullopt};
    std::vector<at::Tensor> images;
    for (int64_t image = 0; image < inputs_.count(); ++image) {
      cancellation_.throwIfCancelled();
      images.push_back(perturbed(image));
    }
    const ModelInputs inputs = inputs_.with(at::stack(images));
    const c10::IValue output = explained(inputs);
    std::vector<double> scores;
    for (const ResolvedTarget& target : targets_)
      scores.push_back(scoreOf(target.target, outputOfImage(output, target.imageIndex)).sum().item<double>());
    return {toHandle(at::tensor(scores, at::kDouble)), toHandle(inputs.images().to(at::kCPU))};
  }

 private:
  c10::IValue explained(const ModelInputs& inputs) const {
    return selectValue(runForward(*plan_, inputs), request_.output);
  }

  at::Tensor perturbed(int64_t image) const {
    const at::Tensor& original = inputs_.images()[image];
    const Perturbation& how = request_.perturbation;
    if (how.kind == Perturbation::Kind::None) return original;
    const at::Tensor heatmap = heatmaps_[image];
    if (how.kind == Perturbation::Kind::Multiply)
      return original * heatmap.to(original.device(), original.scalar_type());
    const at::Tensor relevance = how.kind == Perturbation::Kind::RemoveMost ? heatmap : 1 - heatmap;
    const at::Tensor keep = pixelsToKeep(relevance, how.percentile);
    return imputePixels(original.to(at::kCPU), keep, how.noise, how.seed + image).to(original.device());
  }

  // `like` is the explained output of the images as they are.
  at::Tensor curves(const c10::IValue& like) const {
    const int64_t images = inputs_.count();
    const ImageCopies copies(*plan_, inputs_, request_.output, like);
    const RowRuns runs(state_, request_.modelMethod, request_.batchSize, like, images, cancellation_);
    std::vector<at::Tensor> rows;
    for (int64_t image = 0; image < images; ++image) rows.push_back(curve(image, copies, runs));
    return at::stack(rows);
  }

  // Scores with 0, 1, 2, ... steps of pixels changed, the most relevant first, up to all of them.
  at::Tensor curve(int64_t image, const ImageCopies& copies, const RowRuns& runs) const {
    const Perturbation& how = request_.perturbation;
    const at::Tensor& original = inputs_.images()[image];
    const at::Tensor baseline = at::full_like(original, how.baseline);
    const int64_t pixels = heatmaps_[image].numel();
    const at::Tensor order = at::argsort(heatmaps_[image].flatten(), /*stable=*/true, 0, /*descending=*/true);
    at::Tensor rank = at::empty({pixels}, at::kLong);
    rank.index_copy_(0, order, at::arange(pixels, at::kLong));
    rank = rank.view(heatmaps_[image].sizes()).to(original.device());
    std::vector<int64_t> changed;
    for (int64_t count = 0; count < pixels; count += std::max<int64_t>(1, how.steps))
      changed.push_back(count);
    changed.push_back(pixels);

    std::vector<at::Tensor> scores;
    const Target& target = targets_[static_cast<std::size_t>(image)].target;
    const auto run = [&](int64_t first, int64_t count) {
      std::vector<at::Tensor> images;
      for (int64_t point = first; point < first + count; ++point) {
        const at::Tensor isChanged = rank < changed[static_cast<std::size_t>(point)];
        images.push_back(how.kind == Perturbation::Kind::DeletionCurve
                             ? at::where(isChanged, baseline, original)
                             : at::where(isChanged, original, baseline));
      }
      return explained(copies.of(image, at::stack(images)));
    };
    runs.over(static_cast<int64_t>(changed.size()), run,
              [&](const c10::IValue& output, int64_t, int64_t count) {
                scores.push_back(scoresOfRows(target, output, count).to(at::kCPU, at::kDouble));
              });
    return at::cat(scores);
  }

  ModelState& state_;
  const PerturbedScoresRequest& request_;
  const Cancellation& cancellation_;
  const std::shared_ptr<const Plan> plan_;
  const ModelInputs& inputs_;
  at::Tensor heatmaps_;
  std::vector<ResolvedTarget> targets_;
};

}  // namespace

PerturbedScores perturbedScores(const Model& model,
                                const PerturbedScoresRequest& request,
                                const Cancellation& cancellation) {
  ModelState& state = model.state();
  return onDevice(state.device, state.mode, [&] {
    const at::NoGradGuard noGrad;
    cancellation.throwIfCancelled();
    const ModelInputs inputs = state.prepareBatches(request.modelMethod, request.inputs);
    return namingBatchSize(state, request.modelMethod, inputs, request.output,
                           [&] { return PerturbedRun(state, request, inputs, cancellation).run(); });
  });
}

}  // namespace gradcam
