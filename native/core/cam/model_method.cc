#include "core/cam/model_method.h"

#include "core/cam/cam_method.h"
#include "core/values/image_axes.h"

namespace gradcam {

at::Tensor weightedMaps(const ExplainedBatch& batch,
                        const at::Tensor& activation,
                        const at::Tensor& weights,
                        bool eigenSmooth) {
  const at::Tensor ofTargets = batch.walks.ofTargets(activation);
  const at::Tensor factors = weights.to(activation.device(), activation.scalar_type());
  return sumChannels(asFactorsOf(ofTargets, factors) * ofTargets, eigenSmooth);
}

}  // namespace gradcam
