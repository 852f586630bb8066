#include "core/fusion/channels_last.h"

namespace gradcam {
namespace {

constexpr int64_t kSignalDimensions = 3;
constexpr int64_t kHeight = 2;

}  // namespace

at::Tensor asImage(const at::Tensor& x) {
  if (x.dim() != kSignalDimensions) return x;
  const at::AutoDispatchBelowADInplaceOrView withoutAutograd;
  return x.unsqueeze(kHeight);
}

std::vector<int64_t> asImage(const std::vector<int64_t>& ofAxes, int64_t ofHeight) {
  return ofAxes.size() == 1 ? std::vector<int64_t>{ofHeight, ofAxes[0]} : ofAxes;
}

at::Tensor asGiven(const at::Tensor& image, int64_t dimensions) {
  if (dimensions != kSignalDimensions) return image;
  const at::AutoDispatchBelowADInplaceOrView withoutAutograd;
  return image.squeeze(kHeight);
}

at::MemoryFormat channelsLastOf(const at::Tensor& image) {
  return image.dim() == 5 ? at::MemoryFormat::ChannelsLast3d : at::MemoryFormat::ChannelsLast;
}

at::Tensor asChannelsLastImage(const at::Tensor& x) {
  const at::Tensor image = asImage(x);
  return image.contiguous(channelsLastOf(image));
}

bool isChannelsLastImage(const at::Tensor& image) {
  return image.is_contiguous(channelsLastOf(image));
}

}  // namespace gradcam
