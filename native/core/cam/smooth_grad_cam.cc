#include <ATen/CPUGeneratorImpl.h>

#include "api/failure.h"
#include "core/cam/model_method.h"
#include "core/values/image_axes.h"
#include "core/values/output_tree.h"
#include "core/values/reshape_transform.h"
#include "core/values/tensor_state.h"

namespace gradcam {
namespace {

at::Tensor noiseOf(const MethodRequest& request, const at::Tensor& images) {
  if (!at::isFloatingType(images.scalar_type()))
    throw Failure("ERR_UNSUPPORTED",
                  "SmoothGradCAMPlusPlus adds noise to the input, and this model takes whole numbers. Choose "
                  "another method.");
  if (request.noise) {
    const at::Tensor noise = request.noise->state().tensor.to(images.device(), images.scalar_type());
    if (noise.dim() == images.dim() + 1 && noise.sizes().slice(1) == images.sizes()) return noise;
    throw Failure("ERR_INPUT_SHAPE", "The noise must have the input's shape behind the number of samples.");
  }
  auto generator = at::make_generator<at::CPUGeneratorImpl>(static_cast<uint64_t>(request.seed));
  std::vector<int64_t> sizes = {std::max<int64_t>(1, request.samples), 1};
  sizes.insert(sizes.end(), images.sizes().begin() + 1, images.sizes().end());
  // The same for every image, so that a map does not depend on the image's place in the batch.
  const at::Tensor noise = at::randn(sizes, generator, at::kFloat) * request.deviation;
  return noise.to(images.device(), images.scalar_type());
}

// Sums over the samples of a gradient and its powers.
struct Moments {
  at::Tensor first, second, third;

  void add(const at::Tensor& gradient) {
    const at::Tensor square = gradient * gradient;
    first = first.defined() ? first + gradient : gradient;
    second = second.defined() ? second + square : square;
    third = third.defined() ? third + square * gradient : square * gradient;
  }
};

at::Tensor mapOf(const at::Tensor& activation, const Moments& moments, double samples) {
  const at::Tensor g1 = moments.first / samples, g2 = moments.second / samples, g3 = moments.third / samples;
  const at::Tensor sums = asFactorsOf(activation, activation.flatten(2).sum(2));
  const at::Tensor alpha = g2 / (2 * g2 + sums * g3 + 1e-8);
  const at::Tensor weights = asFactorsOf(activation, (alpha * g1.relu()).flatten(2).sum(2));
  return (weights * activation).sum(1);
}

void checkCalls(std::size_t withNoise, std::size_t without) {
  if (withNoise == without) return;
  throw Failure("ERR_UNSUPPORTED",
                "With noise the model called the target layers " + std::to_string(withNoise) +
                    " times, and without it " + std::to_string(without) +
                    " times: their gradients cannot be averaged. Name one call of the layer, or choose "
                    "another method.");
}

void checkNoPyramid(const ActivationsAndGradients& captured) {
  for (const auto& layer : captured.layers()) {
    if (!layer.isPyramid()) continue;
    throw Failure("ERR_UNSUPPORTED",
                  "SmoothGradCAMPlusPlus cannot explain at a feature pyramid. Choose another method, or a "
                  "layer inside of '" +
                      layer.path + "'.")
        .withLayer(layer.path);
  }
}

}  // namespace

std::vector<at::Tensor> smoothGradCamPlusPlus(const ExplainedBatch& batch, const MethodRequest& request) {
  checkNoPyramid(batch.captured);
  const TargetWalks& walks = batch.walks;
  const auto& layers = batch.layers;
  std::vector<std::vector<Moments>> moments(walks.count(), std::vector<Moments>(layers.size()));
  const at::Tensor noise = noiseOf(request, batch.inputs.images());
  for (int64_t sample = 0; sample < noise.size(0); ++sample) {
    batch.cancellation.throwIfCancelled();
    const ModelInputs inputs = batch.inputs.with(batch.inputs.images() + noise[sample]);
    const ActivationsAndGradients captured(batch.plan, inputs);
    checkCalls(captured.layers().size(), layers.size());
    const at::Tensor scores = scoresOf(batch.output.of(captured.output()), batch.targets);
    for (std::size_t walk = 0; walk < walks.count(); ++walk) {
      const auto taken = captured.gradients(walks.loss(scores, walk), walks.isLast(walk));
      for (std::size_t layer = 0; layer < layers.size(); ++layer) {
        const at::Tensor gradient =
            applyReshape(taken.gradients[layer].at(0), batch.reshape, captured.layers()[layer].path);
        moments[walk][layer].add(gradient.to(layers[layer].activation.scalar_type()));
      }
    }
    batch.advance(inputs.count());
  }
  std::vector<at::Tensor> perLayer;
  for (std::size_t layer = 0; layer < layers.size(); ++layer) {
    std::vector<at::Tensor> ofWalks;
    for (const auto& ofWalk : moments)
      ofWalks.push_back(mapOf(layers[layer].activation, ofWalk[layer], static_cast<double>(noise.size(0))));
    perLayer.push_back(walks.ofTargets(ofWalks));
  }
  return perLayer;
}

int64_t rowsOfSmoothGradCamPlusPlus(const std::vector<CamLayer>&,
                                    int64_t images,
                                    const MethodRequest& request) {
  return images * (request.noise ? request.noise->shape().at(0) : request.samples);
}

}  // namespace gradcam
