#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "api/scripted_target.h"
#include "core/plan/plan.h"
#include "core/process/torch.h"

namespace gradcam {

// A TorchScript module that maps the output of one image to a score. May be used by several threads at once.
class ScriptedTarget {
 public:
  // `archive` is the file's content.
  explicit ScriptedTarget(std::string archive) : archive_(std::move(archive)) { onDevice(at::kCPU); }

  // The differentiable score, computed where the output is. Throws ERR_FORWARD and, where it is no tensor,
  // ERR_OUTPUT_SHAPE.
  at::Tensor scoreOf(const c10::IValue& ofImage);

 private:
  std::shared_ptr<const Plan> onDevice(at::Device device);

  const std::string archive_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<const Plan>> plans_;  // by device
};

}  // namespace gradcam
