#include "core/cam/heatmap.h"

#include "api/failure.h"
#include "core/plan/derivatives.h"

namespace gradcam {

at::Tensor scaleToUnitRange(const at::Tensor& maps, double epsilon) {
  const at::Tensor flat = maps.flatten(1);
  const at::Tensor shifted = flat - std::get<0>(flat.min(1, /*keepdim=*/true));
  return (shifted / (std::get<0>(shifted.max(1, /*keepdim=*/true)) + epsilon)).view_as(maps);
}

at::Tensor resizeMaps(const at::Tensor& maps, at::IntArrayRef size, Upsampling how, bool alignCorners) {
  if (how == Upsampling::Cubic && size.size() != 2)
    throw Failure("ERR_UNSUPPORTED",
                  "Bicubic upsampling is for images; take bilinear for signals and volumes.");
  if (maps.sizes().slice(1) == size) return maps;
  const at::Tensor channel = maps.unsqueeze(1);
  if (how == Upsampling::Cubic) return at::upsample_bicubic2d(channel, size, alignCorners).squeeze(1);
  switch (size.size()) {
    case 1:
      return at::upsample_linear1d(channel, size, alignCorners).squeeze(1);
    case 2:
      return at::upsample_bilinear2d(channel, size, alignCorners).squeeze(1);
    default:
      return at::upsample_trilinear3d(channel, size, alignCorners).squeeze(1);
  }
}

at::Tensor resizeChannels(const at::Tensor& channels, at::IntArrayRef size) {
  return resizeMaps(channels.flatten(0, 1), size).unflatten(0, {channels.size(0), channels.size(1)});
}

namespace {

at::Tensor product(const std::vector<at::Tensor>& perLayer) {
  at::Tensor result = scaleToUnitRange(perLayer.at(0).relu());
  for (std::size_t layer = 1; layer < perLayer.size(); ++layer)
    result = result * scaleToUnitRange(perLayer[layer].relu());
  return result;
}

}  // namespace

at::Tensor fuseLayers(const std::vector<at::Tensor>& rawMaps,
                      at::IntArrayRef size,
                      LayerFusion fusion,
                      Upsampling how) {
  std::vector<at::Tensor> perLayer;
  for (const at::Tensor& maps : rawMaps)
    perLayer.push_back(resizeMaps(scaleToUnitRange(maps.relu()), size, how));
  at::Tensor fused = perLayer.at(0);  // the mean of one layer
  if (fusion == LayerFusion::Product)
    fused = product(perLayer);
  else if (perLayer.size() > 1)
    fused = at::stack(perLayer).mean(0);
  return scaleToUnitRange(fused).to(at::kFloat).contiguous();
}

void checkFinite(const at::Tensor& heatmaps, const c10::IValue& output) {
  if (at::isfinite(heatmaps).all().item<bool>()) return;
  const bool fromOutput = output.isTensor() && at::isFloatingType(output.toTensor().scalar_type()) &&
                          !at::isfinite(output.toTensor()).all().item<bool>();
  if (fromOutput) {
    throw Failure("ERR_NOT_FINITE",
                  "The model's output holds NaN or infinite values, so there is no map. Check the input's "
                  "preprocessing, and "
                  "the model in Python.");
  }
  throw Failure(
      "ERR_NOT_FINITE",
      std::string(
          "The model's output is finite, but what the map is made of is not: the layer's values, or their "
          "gradient (of a square root or a norm of 0, say). ") +
          kMethodsWithoutGradients + "; or choose another layer.");
}

}  // namespace gradcam
