#include "core/targets/scripted_target.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "api/failure.h"
#include "core/graphs/traced_constants.h"
#include "core/process/device_jobs.h"
#include "core/script/archive_check.h"

namespace gradcam {
namespace {

// Of the output's first tensor.
at::Device deviceOf(const c10::IValue& value) {
  if (value.isTensor()) return value.toTensor().device();
  if (value.isList() && !value.toListRef().empty()) return deviceOf(value.toListRef().front());
  if (value.isTuple() && !value.toTupleRef().elements().empty())
    return deviceOf(value.toTupleRef().elements()[0]);
  if (value.isGenericDict() && !value.toGenericDict().empty())
    return deviceOf(value.toGenericDict().begin()->value());
  return at::kCPU;
}

}  // namespace

std::shared_ptr<const Plan> ScriptedTarget::onDevice(at::Device device) {
  const std::lock_guard lock(mutex_);
  auto& plan = plans_[device.str()];
  if (plan) return plan;
  std::istringstream stream(archive_);
  torch::jit::Module module = torch::jit::load(stream, at::Device(at::kCPU));
  checkStorages(module);
  module.eval();
  for (at::Tensor parameter : module.parameters()) parameter.set_requires_grad(false);
  adaptTracedConstants(module, device, {}, at::kFloat);
  if (!device.is_cpu()) module.to(device);
  plan = Plan::plain(module, "forward");
  synchronizeStream(device);  // other executors read it on streams of their own
  return plan;
}

at::Tensor ScriptedTarget::scoreOf(const c10::IValue& ofImage) {
  try {
    const auto plan = onDevice(deviceOf(ofImage));
    const c10::IValue score = plan->runTail(plan->runPrefix(torch::jit::Stack{ofImage}));
    if (score.isTensor()) return score.toTensor();
  } catch (...) {
    const Failure failure = toFailure(std::current_exception(), "ERR_FORWARD");
    if (failure.code != "ERR_FORWARD") throw failure;
    throw Failure("ERR_FORWARD", "The TorchScript target failed on the output of an image: " +
                                     torchMessage(std::current_exception()));
  }
  throw Failure("ERR_OUTPUT_SHAPE", "A TorchScript target must return a tensor with one element.");
}

std::shared_ptr<ScriptedTarget> loadScriptedTarget(const std::string& path) {
  std::error_code unreadable;
  if (!std::filesystem::is_regular_file(path, unreadable)) {
    throw Failure("ERR_MODEL_NOT_FOUND", "There is no TorchScript file for the target at '" + path + "'.");
  }
  try {
    checkRecords(path);
    std::ifstream file(path, std::ios::binary);
    return std::make_shared<ScriptedTarget>(
        std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()));
  } catch (...) {
    throw Failure("ERR_MODEL_LOAD", "'" + path + "' could not be loaded as a TorchScript target: " +
                                        torchMessage(std::current_exception()));
  }
}

}  // namespace gradcam
