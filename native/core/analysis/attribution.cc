#include "api/attribution.h"

#include <cmath>

#include "api/failure.h"
#include "core/model/model_state.h"
#include "core/model/row_runs.h"
#include "core/plan/derivatives.h"
#include "core/plan/plan_run.h"
#include "core/process/device_jobs.h"
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

at::Tensor sumOfRows(const Target& target, const c10::IValue& output, int64_t rows) {
  const at::AutoGradMode record(true);
  return scoresOfRows(target, output, rows).sum();
}

class IntegratedGradients {
 public:
  // `explained` is the explained output of the inputs as they are.
  IntegratedGradients(ModelState& state,
                      const Plan& plan,
                      const AttributionRequest& request,
                      const ModelInputs& inputs,
                      const c10::IValue& explained,
                      const Cancellation& cancellation)
      : plan_(plan),
        request_(request),
        inputs_(inputs),
        copies_(plan, inputs, request.output, explained),
        rowRuns_(state, request.modelMethod, request.batchSize, explained, inputs.count(), cancellation),
        quadrature_(request.rule == "riemann_trapezoid" ? riemannTrapezoid(request.steps)
                                                        : gaussLegendre(request.steps)) {}

  at::Tensor of(const ResolvedTarget& target, const std::function<void(int64_t rows)>& advance) const {
    const at::Tensor image = inputs_.images().narrow(0, target.imageIndex, 1);
    const at::Tensor difference = image - request_.baseline;
    at::Tensor integral = at::zeros_like(image);
    std::optional<RecordedForward> forward;
    const auto run = [&](int64_t first, int64_t count) {
      const auto rows =
          copies_.of(target.imageIndex, count)
              .with(request_.baseline + along(quadrature_.positions, first, count) * difference);
      return forward.emplace(plan_, rows, request_.output).explained();
    };
    rowRuns_.over(request_.steps, run, [&](const c10::IValue& output, int64_t first, int64_t count) {
      const at::Tensor score = sumOfRows(target.target, output, count);
      const at::Tensor gradients = forward->gradientOf(score, /*last=*/true);
      integral = integral + (along(quadrature_.weights, first, count) * gradients).sum(0, /*keepdim=*/true);
      advance(count);
    });
    return difference * integral;
  }

  double scoreAtBaseline(const ResolvedTarget& target) const {
    const at::NoGradGuard noGrad;
    const ModelInputs image = copies_.of(target.imageIndex, 1);
    const ModelInputs inputs = image.with(at::full_like(image.images(), request_.baseline));
    const c10::IValue output = selectValue(runForward(plan_, inputs), request_.output);
    return scoresOfRows(target.target, output, 1).sum().item<double>();
  }

 private:
  // Some of the values, as factors of rows of images.
  at::Tensor along(const std::vector<double>& values, int64_t first, int64_t count) const {
    const at::Tensor& image = inputs_.images();
    const std::vector<double> part(values.begin() + first, values.begin() + first + count);
    return asFactorsOf(image, at::tensor(part, at::kDouble).to(image.device(), image.scalar_type()));
  }

  const Plan& plan_;
  const AttributionRequest& request_;
  const ModelInputs& inputs_;
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

Attribution attributionOfInputs(ModelState& state,
                                const AttributionRequest& request,
                                const ModelInputs& inputs,
                                const Cancellation& cancellation,
                                const Progress& progress) {
  const auto plan =
      state.inputGradientPlan(request.modelMethod, request.kind == AttributionRequest::Kind::GuidedBackprop);
  const RecordedForward forward(*plan, inputs, request.output);
  const auto targets = resolveTargets(forward.explained(), request.targets, inputs.count());
  const at::Tensor scores = scoresOf(forward.explained(), targets);
  const std::vector<double> values = scoreValues(scores);

  Attribution attribution{toHandle(at::Tensor()), toOutputTree(forward.output()), {}};
  for (std::size_t index = 0; index < targets.size(); ++index)
    attribution.maps.push_back({explainedMap(targets[index], values[index]), 0});
  at::Tensor attributions;
  if (request.kind == AttributionRequest::Kind::IntegratedGradients) {
    const IntegratedGradients integrated(state, *plan, request, inputs, forward.explained(), cancellation);
    const int64_t total = static_cast<int64_t>(targets.size()) * request.steps;
    int64_t done = 0;
    std::vector<at::Tensor> rows;
    for (std::size_t index = 0; index < targets.size(); ++index) {
      cancellation.throwIfCancelled();
      rows.push_back(integrated.of(targets[index], [&](int64_t count) { progress(done += count, total); }));
      attribution.maps[index].convergenceDelta = rows.back().to(at::kDouble).sum().item<double>() -
                                                 (values[index] - integrated.scoreAtBaseline(targets[index]));
    }
    attributions = at::cat(rows);
  } else {
    attributions = inputGradients(forward, targets, scores, cancellation);
  }
  attribution.attributions = toHandle(attributions.to(at::kCPU, at::kFloat).contiguous());
  return attribution;
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
