#include "core/targets/target_walks.h"

#include "core/process/host_memory.h"

namespace gradcam {

TargetWalks::TargetWalks(const std::vector<ResolvedTarget>& targets) {
  for (const ResolvedTarget& target : targets) {
    const auto walk = static_cast<std::size_t>(target.targetIndex);
    if (walk >= rows_.size()) rows_.resize(walk + 1);
    rows_[walk].push_back(static_cast<int64_t>(walks_.size()));
    walks_.push_back(target.targetIndex);
    images_.push_back(target.imageIndex);
  }
}

at::Tensor TargetWalks::loss(const at::Tensor& scores, std::size_t walk) const {
  const at::AutoGradMode record(true);
  return scores.index_select(0, indexTensor(rows_.at(walk), scores.device())).sum();
}

at::Tensor TargetWalks::ofTargets(const std::vector<at::Tensor>& ofWalks) const {
  const int64_t images = ofWalks.at(0).size(0);
  std::vector<int64_t> rows;
  for (std::size_t target = 0; target < walks_.size(); ++target)
    rows.push_back(walks_[target] * images + images_[target]);
  const at::Tensor all = at::cat(ofWalks);
  return all.index_select(0, indexTensor(rows, all.device()));
}

at::Tensor TargetWalks::ofTargets(const at::Tensor& ofImages) const {
  return ofImages.index_select(0, indexTensor(images_, ofImages.device()));
}

}  // namespace gradcam
