#include "api/attribution.h"

#include <algorithm>
#include <cmath>

#include "api/failure.h"
#include "core/model/model_state.h"
#include "core/model/row_runs.h"
#include "core/plan/derivatives.h"
#include "core/plan/plan_run.h"
#include "core/process/device_jobs.h"
#include "core/process/host_memory.h"
#include "core/targets/target_walks.h"
#include "core/values/image_axes.h"
#include "core/values/output_tree.h"
#include "core/values/tensor_state.h"

namespace gradcam {
namespace {

// Where on the way from baseline (0) to input (1) gradients are taken, and their weights.
struct Quadrature {
  std::vector<double> positions;
  std::vector<double> weights;
};

// Nodes and weights on -1..1 by Newton's method on the Legendre polynomial, moved to 0..1.
Quadrature gaussLegendre(int64_t steps) {
  Quadrature quadrature;
  for (int64_t index = 0; index < steps; ++index) {
    throwIfCancelled();
    const auto n = static_cast<double>(steps);
    double x = -std::cos(M_PI * (static_cast<double>(index) + 0.75) / (n + 0.5));
    double slope = 0;
    for (int iteration = 0; iteration < 100; ++iteration) {
      double before = 1, value = x;
      for (int64_t degree = 2; degree <= steps; ++degree) {
        const auto k = static_cast<double>(degree);
        const double next = ((2 * k - 1) * x * value - (k - 1) * before) / k;
        before = value;
        value = next;
      }
      slope = n * (x * value - before) / (x * x - 1);
      const double move = value / slope;
      x -= move;
      if (std::abs(move) < 1e-15) break;
    }
    quadrature.positions.push_back((1 + x) / 2);
    quadrature.weights.push_back(1 / ((1 - x * x) * slope * slope));
  }
  return quadrature;
}

// As Captum has it: evenly spaced, both ends included and counted half, each step 1 / steps wide.
Quadrature riemannTrapezoid(int64_t steps) {
  Quadrature quadrature;
  for (int64_t index = 0; index < steps; ++index) {
    const bool end = index == 0 || index == steps - 1;
    quadrature.positions.push_back(steps == 1 ? 0.0
                                              : static_cast<double>(index) / static_cast<double>(steps - 1));
    quadrature.weights.push_back((end ? 0.5 : 1.0) / static_cast<double>(steps));
  }
  return quadrature;
}

// The model's whole forward, recorded from its first input on.
class RecordedForward {
 public:
  RecordedForward(const Plan& plan, const ModelInputs& inputs, const OutputSelector& selector) {
    input_ = inputs.images().detach().requires_grad_(true);
    const at::AutoGradMode record(true);
    output_ = runForward(plan, inputs.with(input_));
    explained_ = selectValue(output_, selector);
  }

  at::Tensor gradientOf(const at::Tensor& score, bool last) const {
    at::Tensor gradient;
    if (score.requires_grad()) {
      gradient = derivatives(score, {input_}, /*retainGraph=*/!last)[0];
    }
    if (gradient.defined()) return gradient;
    throw Failure("ERR_LAYER_DISCONNECTED",
                  "The target score does not depend on the input, so there is no gradient.");
  }

  const c10::IValue& output() const { return output_; }
  const c10::IValue& explained() const { return explained_; }

 private:
  at::Tensor input_;
  c10::IValue output_, explained_;
};

// The integral over the way from a baseline to the images, each step of each image a row. Rows run together,
// of whatever images, and one run serves all targets.
class IntegratedGradients {
 public:
  // `explained` is the explained output of the inputs as they are, `targets` and `walks` are the same.
  IntegratedGradients(ModelState& state,
                      const AttributionRequest& request,
                      const ModelInputs& inputs,
                      const c10::IValue& explained,
                      const std::vector<ResolvedTarget>& targets,
                      const Cancellation& cancellation)
      : plan_(state.inputGradientPlan(request.modelMethod, /*guidedRelu=*/false)),
        withoutGradients_(state.forwardPlan(request.modelMethod)),
        request_(request),
        inputs_(inputs),
        targets_(targets),
        walks_(targets),
        cancellation_(cancellation),
        copies_(*withoutGradients_, inputs, request.output, explained),
        rowRuns_(state, request.modelMethod, request.batchSize, explained, inputs.count(), cancellation),
        quadrature_(request.rule == "riemann_trapezoid" ? riemannTrapezoid(request.steps)
                                                        : gaussLegendre(request.steps)) {}

  // Of the targets, [N, C, ...space].
  at::Tensor attributions(const Progress& progress) const {
    const at::Tensor& images = inputs_.images();
    const at::Tensor difference = images - request_.baseline;
    std::vector<at::Tensor> integrals;
    for (std::size_t walk = 0; walk < walks_.count(); ++walk) integrals.push_back(at::zeros_like(images));
    const int64_t total = inputs_.count() * request_.steps;
    std::optional<RecordedForward> forward;
    const auto run = [&](int64_t first, int64_t count) {
      std::vector<int64_t> imageOfRow;
      for (int64_t row = first; row < first + count; ++row) imageOfRow.push_back(row / request_.steps);
      const at::Tensor ways = difference.index_select(0, indexTensor(imageOfRow, images.device()));
      const at::Tensor changed = request_.baseline + along(quadrature_.positions, first, count) * ways;
      return forward.emplace(*plan_, copies_.of(imageOfRow, changed), request_.output).explained();
    };
    rowRuns_.over(total, run, [&](const c10::IValue& output, int64_t first, int64_t count) {
      const auto parts = partsOf(first, count);
      for (std::size_t walk = 0; walk < walks_.count(); ++walk) {
        cancellation_.throwIfCancelled();
        const at::Tensor score = scoreOfWalk(walk, output, parts);
        if (!score.defined()) continue;  // none of the images has so many targets
        const at::Tensor gradients =
            along(quadrature_.weights, first, count) * forward->gradientOf(score, walks_.isLast(walk));
        for (const Part& part : parts)
          integrals[walk][part.image] += gradients.narrow(0, part.row, part.count).sum(0);
      }
      forward.reset();
      progress(first + count, total);
    });
    for (at::Tensor& integral : integrals) integral = difference * integral;
    return walks_.ofTargets(integrals);
  }

  // Of each target.
  std::vector<double> scoresAtBaseline() const {
    const ModelInputs inputs = inputs_.with(at::full_like(inputs_.images(), request_.baseline));
    const at::NoGradGuard noGrad;
    const c10::IValue output = selectValue(runForward(*withoutGradients_, inputs), request_.output);
    std::vector<double> scores;
    for (const ResolvedTarget& target : targets_)
      scores.push_back(scoreOf(target.target, outputOfImage(output, target.imageIndex)).sum().item<double>());
    return scores;
  }

 private:
  // Rows of a run that are one image's, `row` the first of them.
  struct Part {
    int64_t image, row, count;
  };

  std::vector<Part> partsOf(int64_t first, int64_t count) const {
    std::vector<Part> parts;
    for (int64_t row = 0; row < count;) {
      const int64_t image = (first + row) / request_.steps;
      const int64_t end = std::min(count, (image + 1) * request_.steps - first);
      parts.push_back({image, row, end - row});
      row = end;
    }
    return parts;
  }

  // The sum of the scores that the walk's targets have in a run's rows; undefined where none has any.
  at::Tensor scoreOfWalk(std::size_t walk, const c10::IValue& output, const std::vector<Part>& parts) const {
    const at::AutoGradMode record(true);
    at::Tensor sum;
    for (const ResolvedTarget& target : targets_) {
      if (target.targetIndex != static_cast<int64_t>(walk)) continue;
      for (const Part& part : parts) {
        if (part.image != target.imageIndex) continue;
        const at::Tensor scores =
            scoresOfRows(target.target, outputOfImages(output, part.row, part.count), part.count).sum();
        sum = sum.defined() ? sum + scores : scores;
      }
    }
    return sum;
  }

  // Values of the steps of some rows, as factors of the rows.
  at::Tensor along(const std::vector<double>& values, int64_t first, int64_t count) const {
    const at::Tensor& images = inputs_.images();
    std::vector<double> ofRows;
    for (int64_t row = first; row < first + count; ++row)
      ofRows.push_back(values[static_cast<std::size_t>(row % request_.steps)]);
    return asFactorsOf(images, at::tensor(ofRows, at::kDouble).to(images.device(), images.scalar_type()));
  }

  const std::shared_ptr<const Plan> plan_, withoutGradients_;
  const AttributionRequest& request_;
  const ModelInputs& inputs_;
  const std::vector<ResolvedTarget>& targets_;
  const TargetWalks walks_;
  const Cancellation& cancellation_;
  const ImageCopies copies_;
  const RowRuns rowRuns_;
  const Quadrature quadrature_;
};

// The gradients of the targets' scores with respect to their images, [N, C, ...space].
at::Tensor inputGradients(const RecordedForward& forward,
                          const std::vector<ResolvedTarget>& targets,
                          const at::Tensor& scores,
                          const Cancellation& cancellation) {
  const TargetWalks walks(targets);
  std::vector<at::Tensor> ofWalks;
  for (std::size_t walk = 0; walk < walks.count(); ++walk) {
    cancellation.throwIfCancelled();
    ofWalks.push_back(forward.gradientOf(walks.loss(scores, walk), walks.isLast(walk)));
  }
  return walks.ofTargets(ofWalks);
}

Attribution describe(const at::Tensor& attributions,
                     const c10::IValue& output,
                     const std::vector<ResolvedTarget>& targets,
                     const std::vector<double>& scores) {
  Attribution attribution{
      toHandle(attributions.to(at::kCPU, at::kFloat).contiguous()), toOutputTree(output), {}};
  for (std::size_t index = 0; index < targets.size(); ++index)
    attribution.maps.push_back({explainedMap(targets[index], scores[index]), 0});
  return attribution;
}

Attribution integratedGradients(ModelState& state,
                                const AttributionRequest& request,
                                const ModelInputs& inputs,
                                const Cancellation& cancellation,
                                const Progress& progress) {
  const c10::IValue output = runForward(*state.forwardPlan(request.modelMethod), inputs);
  const c10::IValue explained = selectValue(output, request.output);
  const auto targets = resolveTargets(explained, request.targets, inputs.count());
  const auto scores = scoreValues(scoresOf(explained, targets));
  const IntegratedGradients integrated(state, request, inputs, explained, targets, cancellation);
  const at::Tensor attributions = integrated.attributions(progress);
  const auto atBaseline = integrated.scoresAtBaseline();
  Attribution attribution = describe(attributions, output, targets, scores);
  for (std::size_t index = 0; index < targets.size(); ++index) {
    const auto sum = attributions[static_cast<int64_t>(index)].to(at::kDouble).sum().item<double>();
    attribution.maps[index].convergenceDelta = sum - (scores[index] - atBaseline[index]);
  }
  return attribution;
}

Attribution attributionOfInputs(ModelState& state,
                                const AttributionRequest& request,
                                const ModelInputs& inputs,
                                const Cancellation& cancellation,
                                const Progress& progress) {
  if (request.kind == AttributionRequest::Kind::IntegratedGradients)
    return integratedGradients(state, request, inputs, cancellation, progress);
  const auto plan =
      state.inputGradientPlan(request.modelMethod, request.kind == AttributionRequest::Kind::GuidedBackprop);
  const RecordedForward forward(*plan, inputs, request.output);
  const auto targets = resolveTargets(forward.explained(), request.targets, inputs.count());
  const at::Tensor scores = scoresOf(forward.explained(), targets);
  return describe(inputGradients(forward, targets, scores, cancellation), forward.output(), targets,
                  scoreValues(scores));
}

Attribution attributionOnDevice(ModelState& state,
                                const AttributionRequest& request,
                                const Cancellation& cancellation,
                                const Progress& progress) {
  const at::AutoGradMode notByDefault(false);
  cancellation.throwIfCancelled();
  const ModelInputs inputs = state.prepareBatches(request.modelMethod, request.inputs);
  if (!at::isFloatingType(inputs.images().scalar_type())) {
    throw Failure("ERR_INPUT_DTYPE", "Attributions need a floating-point input.");
  }
  return namingBatchSize(state, request.modelMethod, inputs, request.output,
                         [&] { return attributionOfInputs(state, request, inputs, cancellation, progress); });
}

}  // namespace

Attribution attribution(const Model& model,
                        const AttributionRequest& request,
                        const Cancellation& cancellation,
                        const Progress& progress) {
  ModelState& state = model.state();
  return onDevice(state.device, state.mode,
                  [&] { return attributionOnDevice(state, request, cancellation, progress); });
}

}  // namespace gradcam
