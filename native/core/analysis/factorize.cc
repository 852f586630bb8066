#include "api/factorize.h"

#include <cmath>

#include "api/failure.h"
#include "core/cam/cam_layers.h"
#include "core/cam/heatmap.h"
#include "core/model/model_state.h"
#include "core/model/row_runs.h"
#include "core/plan/activations_and_gradients.h"
#include "core/process/device_jobs.h"
#include "core/script/module_facts.h"
#include "core/values/image_axes.h"
#include "core/values/output_tree.h"
#include "core/values/tensor_state.h"

namespace gradcam {
namespace {

constexpr int64_t kMostRounds = 200;
constexpr double kTolerance = 1e-4;

// One pass over `factor`, [rows, components], with the other factor fixed: minimises ||data - factor *
// other|| in one coordinate after the other, not below 0. Returns how far the optimality conditions were from
// holding.
double descend(const at::Tensor& data, at::Tensor& factor, const at::Tensor& other) {
  const at::Tensor gram = at::mm(other, other.t()).contiguous();     // [components, components]
  const at::Tensor products = at::mm(data, other.t()).contiguous();  // [rows, components]
  const int64_t rows = factor.size(0), components = factor.size(1);
  const auto* hessian = gram.data_ptr<float>();
  const auto* target = products.data_ptr<float>();
  auto* values = factor.data_ptr<float>();
  double violation = 0;
  for (int64_t component = 0; component < components; ++component) {
    const float curvature = hessian[component * components + component];
    for (int64_t row = 0; row < rows; ++row) {
      float* ofRow = values + row * components;
      float gradient = -target[row * components + component];
      for (int64_t each = 0; each < components; ++each)
        gradient += hessian[component * components + each] * ofRow[each];
      const float projected = ofRow[component] == 0 ? std::min(0.0F, gradient) : gradient;
      violation += std::abs(projected);
      if (curvature != 0) ofRow[component] = std::max(ofRow[component] - gradient / curvature, 0.0F);
    }
  }
  return violation;
}

at::Tensor startAt(const std::optional<TensorHandle>& given,
                   at::IntArrayRef sizes,
                   double scale,
                   at::Generator generator) {
  if (!given) return (at::randn(sizes, generator, at::kFloat) * scale).abs().contiguous();
  const at::Tensor start = given->state().tensor.to(at::kCPU, at::kFloat).contiguous().clone();
  if (start.sizes() != sizes)
    throw Failure("ERR_INPUT_SHAPE", "The start of the factorization has the wrong shape.");
  return start;
}

// Non-negative factors of a matrix, concepts times where they are, and of how many rounds.
struct Factors {
  at::Tensor concepts;  // [channels, components]
  at::Tensor where;     // [components, places]
  int64_t rounds = 0;
};

// `data` is [channels, places], of values from 0 up.
Factors factorsOf(const at::Tensor& data,
                  const FactorizationRequest& request,
                  const Cancellation& cancellation,
                  const Progress& progress) {
  const double scale = std::sqrt(data.mean().item<double>() / static_cast<double>(request.components));
  auto generator = at::make_generator<at::CPUGeneratorImpl>(static_cast<uint64_t>(request.seed));
  // In scikit-learn's order: first where the concepts are, then the concepts.
  const at::Tensor where =
      startAt(request.startExplanations, {request.components, data.size(1)}, scale, generator);
  Factors factors{startAt(request.startConcepts, {data.size(0), request.components}, scale, generator), {}};
  at::Tensor whereByPlace = where.t().contiguous();  // [places, components]
  const at::Tensor dataByPlace = data.t().contiguous();
  double first = 0;
  while (factors.rounds < kMostRounds) {
    cancellation.throwIfCancelled();
    ++factors.rounds;
    double violation = descend(data, factors.concepts, whereByPlace.t());
    violation += descend(dataByPlace, whereByPlace, factors.concepts.t());
    if (factors.rounds == 1) first = violation;
    progress(factors.rounds, kMostRounds);
    if (first == 0 || violation / first <= kTolerance) break;
  }
  factors.where = whereByPlace.t();
  return factors;
}

// [components, B * places] -> [B, components, ...size], each map scaled to 0..1. `activation` is [B, C,
// ...space].
at::Tensor explanationsOf(const at::Tensor& where, const at::Tensor& activation, at::IntArrayRef size) {
  std::vector<int64_t> sizes = {where.size(0), activation.size(0)};
  sizes.insert(sizes.end(), activation.sizes().begin() + 2, activation.sizes().end());
  const at::Tensor maps = where.reshape(sizes).transpose(0, 1).flatten(0, 1).contiguous();
  return resizeMaps(scaleToUnitRange(maps), size)
      .unflatten(0, {activation.size(0), where.size(0)})
      .contiguous();
}

at::Tensor linearOf(const torch::jit::Module& model, const std::string& path, const at::Tensor& rows) {
  const auto module = moduleNamed(model, path);
  const at::Tensor weight = module ? tensorAttribute(*module, "weight") : at::Tensor();
  if (weight.defined() && weight.dim() == 2 && weight.size(1) == rows.size(1)) {
    const at::Tensor bias = tensorAttribute(*module, "bias");
    return at::linear(rows, weight.to(at::kCPU, at::kFloat),
                      bias.defined() ? std::optional(bias.to(at::kCPU, at::kFloat)) : std::nullopt);
  }
  throw Failure("ERR_UNKNOWN_LAYER", "The model has no linear layer '" + path + "' that takes " +
                                         std::to_string(rows.size(1)) + " channels.")
      .withLayer(path);
}

Factorization factorizeOnDevice(ModelState& state,
                                const FactorizationRequest& request,
                                const Cancellation& cancellation,
                                const Progress& progress) {
  const at::AutoGradMode noGradients(false);
  if (request.layer.call == CallKind::All) throw Failure("ERR_INTERNAL", "One call is factorized, not all.");
  const auto plan =
      state.plan(request.modelMethod, {request.layer}, {.optimize = request.optimize, .gradients = false});
  const ModelInputs inputs = state.prepareBatches(request.modelMethod, request.inputs);
  const auto captured = namingBatchSize(state, request.modelMethod, inputs, {},
                                        [&] { return ActivationsAndGradients(*plan, inputs); });
  ReshapeTransform reshape = request.reshape;
  reshape.unrolled = plan->unrolledBefore(0);
  const at::Tensor activation = camLayers(captured, reshape).at(0).activation.to(at::kCPU, at::kFloat);
  if (activation.dim() != inputs.images().dim()) {
    throw Failure("ERR_LAYER_OUTPUT",
                  "Layer '" + request.layer.path +
                      "' has no spatial map. Choose a layer before pooling, or give a reshapeTransform.")
        .withLayer(request.layer.path);
  }

  const at::Tensor flat = activation.transpose(0, 1).reshape({activation.size(1), -1});
  const at::Tensor offset = flat.amin(1, /*keepdim=*/true);
  const Factors factors = factorsOf((flat - offset).contiguous(), request, cancellation, progress);
  const at::Tensor concepts = (factors.concepts + offset).contiguous();
  std::optional<TensorHandle> conceptOutputs;
  if (!request.linear.empty())
    conceptOutputs = toHandle(linearOf(state.module, request.linear, concepts.t().contiguous()));
  return {toHandle(concepts),
          toHandle(explanationsOf(factors.where, activation, spatialSizes(inputs.images().sizes()))),
          std::move(conceptOutputs), toOutputTree(captured.output()), factors.rounds};
}

}  // namespace

Factorization factorize(const Model& model,
                        const FactorizationRequest& request,
                        const Cancellation& cancellation,
                        const Progress& progress) {
  ModelState& state = model.state();
  return onDevice(state.device, state.mode,
                  [&] { return factorizeOnDevice(state, request, cancellation, progress); });
}

}  // namespace gradcam
