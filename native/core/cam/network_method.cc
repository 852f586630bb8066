#include "core/cam/network_method.h"

namespace gradcam {

NetworkForward::NetworkForward(const NetworkBatch& batch, const Plan& plan, bool recordFromImages)
    : images(recordFromImages ? batch.inputs.images().detach().requires_grad_(true) : batch.inputs.images()),
      captured(plan, batch.inputs.with(images), recordFromImages),
      explained(batch.output.of(captured.output())),
      targets(targetsOf(explained, batch.request.targets, images.size(0), batch.resolved)),
      walks(targets),
      scores(scoresOf(explained, targets)) {}

NetworkMaps NetworkForward::maps(const at::Tensor& heatmaps) const {
  return {heatmaps, captured.output(), targets, scoreValues(scores)};
}

}  // namespace gradcam
