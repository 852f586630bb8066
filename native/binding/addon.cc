// The module's table of functions. lib/addon/types.ts describes them.
#include <napi.h>

#include "api/caching_allocator.h"
#include "api/cuda_library.h"
#include "api/device_memory.h"
#include "api/executors.h"
#include "api/libtorch_build.h"
#include "api/lost_device.h"
#include "api/plan_description.h"
#include "binding/conversions.h"
#include "binding/errors.h"
#include "binding/javascript_function.h"
#include "binding/job_channel.h"
#include "binding/model_functions.h"
#include "binding/tensor_functions.h"

namespace gradcam {

// One per JavaScript environment: the main thread and each worker thread have their own. No state is static.
class GradCamAddon : public Napi::Addon<GradCamAddon> {
 public:
  GradCamAddon(Napi::Env env, Napi::Object exports) : channel_(start(env)) {
    DefineAddon(exports, {
                             InstanceMethod("buildInfo", &GradCamAddon::getBuildInfo),
                             InstanceMethod("cuda", &GradCamAddon::getCuda),
                             InstanceMethod("deviceLost", &GradCamAddon::getDeviceLost),
                             InstanceMethod("memory", &GradCamAddon::getMemory),
                             InstanceMethod("createCancellation", &GradCamAddon::createCancellation),
                             InstanceMethod("cancel", &GradCamAddon::cancel),
                             InstanceMethod("close", &GradCamAddon::close),
                             InstanceMethod("externalMemory", &GradCamAddon::externalMemory),
                             InstanceMethod("threads", &GradCamAddon::getThreads),
                             InstanceMethod("setThreads", &GradCamAddon::setThreads),
                             InstanceMethod("describePlan", &GradCamAddon::describe),
                             InstanceMethod("loadModel", &GradCamAddon::load),
                             InstanceMethod("convertModel", &GradCamAddon::convert),
                             InstanceMethod("loadTarget", &GradCamAddon::loadTarget),
                             InstanceMethod("forward", &GradCamAddon::forward),
                             InstanceMethod("inspect", &GradCamAddon::inspectLayers),
                             InstanceMethod("warmUp", &GradCamAddon::warmUpModel),
                             InstanceMethod("perturbedScores", &GradCamAddon::scorePerturbed),
                             InstanceMethod("factorize", &GradCamAddon::factorizeActivations),
                             InstanceMethod("attribute", &GradCamAddon::attributeToInput),
                             InstanceMethod("explain", &GradCamAddon::explainInput),
                         });
    exports.Set("tensorFromTypedArray",
                Napi::Function::New(env, tensorFromTypedArray, "tensorFromTypedArray"));
    exports.Set("tensorCopyTo", Napi::Function::New(env, tensorCopyTo, "tensorCopyTo"));
    exports.Set("tensorShare", Napi::Function::New(env, tensorShare, "tensorShare"));
    exports.Set("tensorAt", Napi::Function::New(env, tensorAt, "tensorAt"));
    exports.Set("tensorNarrow", Napi::Function::New(env, tensorNarrow, "tensorNarrow"));
    exports.Set("tensorOperation", Napi::Function::New(env, tensorOperation, "tensorOperation"));
    exports.Set("tensorDispose", Napi::Function::New(env, tensorDispose, "tensorDispose"));
    exports.Set("modelStatistics", Napi::Function::New(env, modelStatistics, "modelStatistics"));
    exports.Set("disposeModel", Napi::Function::New(env, disposeModel, "disposeModel"));
    exports.Set("modelWarnings", Napi::Function::New(env, modelWarnings, "modelWarnings"));
    exports.Set("modelWeight", Napi::Function::New(env, modelWeight, "modelWeight"));
  }

 private:
  // Another LibTorch than the one compiled against has other layouts: say so before anything of it is used.
  static std::shared_ptr<JobChannel> start(Napi::Env env) {
    try {
      loadCudaLibrary();
      checkTorchVersion();
    } catch (const Failure& failure) {
      throw toJsError(env, failure);
    }
    installCachingAllocator();
    return JobChannel::create(env);
  }

  Napi::Value getBuildInfo(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      const BuildInfo build = buildInfo();
      Napi::Object object = Napi::Object::New(info.Env());
      object.Set("compiledTorchVersion", build.compiledTorchVersion);
      object.Set("torchVersion", build.torchVersion);
      object.Set("cpuCapability", build.cpuCapability);
      object.Set("libtorchPath", build.libtorchPath);
      return object;
    });
  }

  Napi::Value getMemory(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      Napi::Object object = Napi::Object::New(info.Env());
      const auto set = [](Napi::Object& to, const char* key, std::size_t count) {
        to.Set(key, static_cast<double>(count));
      };
      const MemoryUse large = memoryUse();
      set(object, "tensorBytes", large.inUse);
      set(object, "cachedBytes", large.cached);
      const LiveMemory live = liveMemory();
      set(object, "liveBlocks", live.blocks);
      set(object, "liveBytes", live.bytes);
      Napi::Object objects = Napi::Object::New(info.Env());
      const HandleCounts handles = handleCounts();
      set(objects, "tensors", handles.tensors);
      set(objects, "models", handles.models);
      set(objects, "targets", handles.scriptedTargets);
      set(objects, "cancellations", handles.cancellations);
      set(objects, "functions", JavaScriptFunction::alive());
      set(objects, "jobs", JobBase::alive());
      set(objects, "plans", livePlans());
      set(objects, "environments", JobChannel::alive());
      object.Set("liveObjects", objects);
      const auto onDevices = deviceMemory();
      Napi::Array devices = Napi::Array::New(info.Env(), onDevices.size());
      for (uint32_t index = 0; index < onDevices.size(); ++index) {
        Napi::Object device = Napi::Object::New(info.Env());
        device.Set("device", onDevices[index].device);
        set(device, "tensorBytes", onDevices[index].inUse);
        set(device, "cachedBytes", onDevices[index].cached);
        devices.Set(index, device);
      }
      object.Set("devices", devices);
      return object;
    });
  }

  Napi::Value getCuda(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      const CudaInfo& cuda = cudaInfo();
      const auto textOrNull = [&](const std::string& text) -> Napi::Value {
        return text.empty() ? info.Env().Null() : Napi::String::New(info.Env(), text);
      };
      Napi::Object object = Napi::Object::New(info.Env());
      object.Set("available", cuda.available);
      object.Set("reason", textOrNull(cuda.reason));
      object.Set("deviceCount", cuda.deviceCount);
      object.Set("runtimeVersion", textOrNull(cuda.runtimeVersion));
      object.Set("cudnnVersion", textOrNull(cuda.cudnnVersion));
      object.Set("driverVersion", textOrNull(cuda.driverVersion));
      Napi::Array devices = Napi::Array::New(info.Env(), cuda.devices.size());
      for (uint32_t index = 0; index < cuda.devices.size(); ++index) {
        Napi::Object device = Napi::Object::New(info.Env());
        device.Set("name", cuda.devices[index].name);
        device.Set("totalBytes", static_cast<double>(cuda.devices[index].totalBytes));
        devices.Set(index, device);
      }
      object.Set("devices", devices);
      return object;
    });
  }

  Napi::Value getDeviceLost(const Napi::CallbackInfo& info) {
    return Napi::Boolean::New(info.Env(), deviceIsLost());
  }

  Napi::Value getThreads(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      const ThreadCounts threads = threadCounts();
      Napi::Object object = Napi::Object::New(info.Env());
      object.Set("executors", threads.executors);
      object.Set("intraOpThreads", threads.intraOpThreads);
      return object;
    });
  }

  Napi::Value setThreads(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      setThreadCounts({info[0].ToNumber().Int32Value(), info[1].ToNumber().Int32Value()});
      return info.Env().Undefined();
    });
  }

  Napi::Value createCancellation(const Napi::CallbackInfo& info) { return fromCancellation(info.Env()); }

  Napi::Value cancel(const Napi::CallbackInfo& info) {
    toCancellation(info[0])->cancel();
    return info.Env().Undefined();
  }

  Napi::Value close(const Napi::CallbackInfo& info) {
    channel_->close();
    return info.Env().Undefined();
  }

  Napi::Value externalMemory(const Napi::CallbackInfo& info) {
    return Napi::Number::New(
        info.Env(), static_cast<double>(Napi::MemoryManagement::AdjustExternalMemory(info.Env(), 0)));
  }

  Napi::Value load(const Napi::CallbackInfo& info) { return startLoadModel(info, *channel_); }
  Napi::Value convert(const Napi::CallbackInfo& info) { return startConvertModel(info, *channel_); }
  Napi::Value loadTarget(const Napi::CallbackInfo& info) { return startLoadTarget(info, *channel_); }
  Napi::Value forward(const Napi::CallbackInfo& info) { return startForward(info, *channel_); }
  Napi::Value inspectLayers(const Napi::CallbackInfo& info) { return startInspect(info, *channel_); }
  Napi::Value describe(const Napi::CallbackInfo& info) { return startDescribePlan(info, *channel_); }
  Napi::Value warmUpModel(const Napi::CallbackInfo& info) { return startWarmUp(info, *channel_); }
  Napi::Value scorePerturbed(const Napi::CallbackInfo& info) { return startPerturbedScores(info, *channel_); }
  Napi::Value factorizeActivations(const Napi::CallbackInfo& info) { return startFactorize(info, *channel_); }
  Napi::Value attributeToInput(const Napi::CallbackInfo& info) { return startAttribution(info, *channel_); }
  Napi::Value explainInput(const Napi::CallbackInfo& info) { return startExplain(info, *channel_); }

  const std::shared_ptr<JobChannel> channel_;
};

}  // namespace gradcam

using gradcam::GradCamAddon;
NODE_API_ADDON(GradCamAddon)
