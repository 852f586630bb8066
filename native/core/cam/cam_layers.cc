#include "core/cam/cam_layers.h"

#include <sstream>

#include "api/failure.h"
#include "core/cam/feature_pyramid.h"
#include "core/values/image_axes.h"
#include "core/values/reshape_transform.h"
#include "core/values/tensor_types.h"

namespace gradcam {
namespace {

// Tokens that the model brought into another order. All layers must be of one.
ReshapeTransform inOrderOfRows(const Plan& plan,
                               const ActivationsAndGradients& captured,
                               const ReshapeTransform& asked) {
  ReshapeTransform reshape = asked;
  for (const auto& layer : captured.layers()) {
    const auto& unrolled = plan.unrolledBefore(layer.slot);
    const bool first = &layer == &captured.layers().front();
    if (first) reshape.unrolled = unrolled;
    if (reshape.unrolled.size() == unrolled.size()) continue;
    throw Failure("ERR_LAYER_OUTPUT", "Layer '" + layer.path +
                                          "' has its tokens in another order than another of the target "
                                          "layers. Explain them one by one.")
        .withLayer(layer.path);
  }
  return reshape;
}

}  // namespace

std::vector<CamLayer> camLayers(const ActivationsAndGradients& captured, const ReshapeTransform& reshape) {
  std::vector<CamLayer> layers;
  for (const auto& layer : captured.layers()) {
    checkLevels(layer, reshape);
    std::vector<at::Tensor> maps;
    for (const at::Tensor& map : layer.maps)
      maps.push_back(inFullPrecision(applyReshape(map.detach(), reshape, layer.path)));
    at::Tensor activation = layer.isPyramid() ? joinLevels(maps) : maps.at(0);
    layers.push_back({layer.path, layer.callIndex, layer.output, std::move(maps), std::move(activation)});
  }
  return layers;
}

void checkActivations(const std::vector<CamLayer>& layers, const at::Tensor& input, bool resized) {
  for (const auto& layer : layers) {
    const at::Tensor& activation = layer.activation;
    const bool ofImages = activation.dim() >= 3 && activation.size(0) == input.size(0);
    if (ofImages && activation.numel() == 0) {
      std::ostringstream message;
      message << "Layer '" << layer.path << "' gives " << activation.sizes()
              << ", which holds nothing: an input of shape " << input.sizes()
              << " is too small for it. Give a larger input, or choose an earlier layer.";
      throw Failure("ERR_LAYER_OUTPUT", message.str()).withLayer(layer.path);
    }
    if (ofImages && activation.dim() == input.dim()) continue;
    if (ofImages && activation.dim() > input.dim()) {
      if (!resized || !spatialSizesFor(activation.sizes().slice(2), input.sizes()).empty()) continue;
      std::ostringstream message;
      message << "Layer '" << layer.path << "' gives " << activation.sizes()
              << ", a map with more axes than the input, " << input.sizes()
              << ", has for it (a spectrogram made inside the model?): it cannot be resized to "
                 "the input. upsample: false gives the map at the layer's size.";
      throw Failure("ERR_LAYER_OUTPUT", message.str()).withLayer(layer.path);
    }
    const int64_t images = input.size(0);
    std::ostringstream message;
    if (activation.dim() >= 3 && activation.size(0) > images && activation.size(0) % images == 0) {
      message << "Layer '" << layer.path << "' gives " << activation.sizes() << " for an input of shape "
              << input.sizes() << ": " << activation.size(0) / images
              << " maps for each image, as of frames, crops or mirrored copies that the model itself runs as "
                 "one batch. A heatmap belongs to one image: export the model without that, for one frame or "
                 "crop, or choose a layer that gives them an axis of their own, [images, channels, frames, "
                 "...space].";
      throw Failure("ERR_LAYER_OUTPUT", message.str()).withLayer(layer.path);
    }
    message << "Layer '" << layer.path << "' gives " << activation.sizes()
            << ", but a map over an input of shape " << input.sizes() << " needs [" << input.size(0)
            << ", channels, " << input.dim() - 2
            << " spatial axes]. Choose a layer before pooling or flattening, or give a reshapeTransform for "
               "tokens or channels last.";
    throw Failure("ERR_LAYER_OUTPUT", message.str()).withLayer(layer.path);
  }
}

ReshapeTransform reshapeFor(const Plan& plan,
                            const ActivationsAndGradients& captured,
                            const ReshapeTransform& asked,
                            const at::Tensor& input) {
  if (asked.kind == ReshapeTransform::Kind::Tokens) return inOrderOfRows(plan, captured, asked);
  if (asked.kind != ReshapeTransform::Kind::None || asked.asItIs) return asked;
  std::size_t channelsLast = 0;
  std::string path;
  for (const auto& layer : captured.layers()) {
    if (layer.isPyramid()) continue;
    const at::Tensor& activation = layer.maps.at(0);
    if (activation.dim() != input.dim() || activation.dim() < 3) continue;
    if (!plan.weightsOf(layer.slot).areChannelsLast(activation.sizes()).value_or(false)) continue;
    ++channelsLast;
    path = layer.path;
    const bool isSignal = activation.dim() == 3;
    if (!isSignal || input.size(2) % activation.size(1) == 0) continue;
    std::ostringstream message;
    message << "Layer '" << layer.path << "' gives " << activation.sizes()
            << ", whose last axis holds the channels, and " << activation.size(1)
            << " places are no part of an input of shape " << input.sizes()
            << ". Name another layer, or give a reshapeTransform with prefixTokens and grid.";
    throw Failure("ERR_LAYER_OUTPUT", message.str()).withLayer(layer.path);
  }
  if (channelsLast == 0) return asked;
  if (channelsLast < captured.layers().size()) {
    throw Failure("ERR_LAYER_OUTPUT",
                  "Layer '" + path +
                      "' has its channels on the last axis, and another of the target layers "
                      "on the second. Explain them one by one.")
        .withLayer(path);
  }
  ReshapeTransform reshape = asked;
  reshape.kind = ReshapeTransform::Kind::ChannelsLast;
  reshape.imageSize = spatialSizes(input.sizes());
  return reshape;
}

}  // namespace gradcam
