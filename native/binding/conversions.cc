#include "binding/conversions.h"

#include <map>
#include <optional>

#include "binding/handles.h"
#include "binding/reading.h"
#include "binding/target_conversions.h"

namespace gradcam {
namespace {

constexpr napi_type_tag kTensorTag = {0x6d1f3a0c9be24c11, 0x9e0c53b1a7d24f01};
constexpr napi_type_tag kModelTag = {0x6d1f3a0c9be24c11, 0x9e0c53b1a7d24f02};
constexpr napi_type_tag kScriptedTargetTag = {0x6d1f3a0c9be24c11, 0x9e0c53b1a7d24f04};
constexpr napi_type_tag kCancellationTag = {0x6d1f3a0c9be24c11, 0x9e0c53b1a7d24f03};

// A tensor as JavaScript holds it. V8 is told of its memory, so that forgotten results are collected in time.
class TensorBox {
 public:
  TensorBox(Napi::BasicEnv env, TensorHandle tensor)
      : env_(env), tensor_(std::move(tensor)), byteLength_(static_cast<int64_t>(tensor_->hostBytes())) {
    Napi::MemoryManagement::AdjustExternalMemory(env_, byteLength_);
  }
  ~TensorBox() { release(); }
  TensorBox(const TensorBox&) = delete;
  TensorBox& operator=(const TensorBox&) = delete;

  const std::optional<TensorHandle>& tensor() const { return tensor_; }

  void release() {
    if (!tensor_) return;
    tensor_.reset();
    Napi::MemoryManagement::AdjustExternalMemory(env_, -byteLength_);
  }

 private:
  Napi::BasicEnv env_;
  std::optional<TensorHandle> tensor_;  // empty once released
  int64_t byteLength_;
};

// Lives as long as the JavaScript object; jobs share the box, but only this end of it may speak to V8.
struct ModelHolder {
  Napi::BasicEnv env;
  std::shared_ptr<ModelBox> box;

  ~ModelHolder() {
    if (!box->disposed) Napi::MemoryManagement::AdjustExternalMemory(env, -box->byteLength);
  }
};

Napi::Array fromShape(Napi::Env env, const std::vector<int64_t>& shape) {
  Napi::Array array = Napi::Array::New(env, shape.size());
  for (uint32_t index = 0; index < shape.size(); ++index) array.Set(index, static_cast<double>(shape[index]));
  return array;
}

Napi::Array fromSelector(Napi::Env env, const OutputSelector& selector) {
  Napi::Array array = Napi::Array::New(env, selector.size());
  for (uint32_t index = 0; index < selector.size(); ++index) {
    if (const auto* name = std::get_if<std::string>(&selector[index])) {
      array.Set(index, *name);
    } else {
      array.Set(index, static_cast<double>(std::get<int64_t>(selector[index])));
    }
  }
  return array;
}

Napi::Object fromMap(Napi::Env env, const ExplainedMap& map) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("imageIndex", static_cast<double>(map.imageIndex));
  object.Set("targetIndex", static_cast<double>(map.targetIndex));
  object.Set("classIndex", map.classIndex < 0
                               ? env.Null()
                               : Napi::Value(Napi::Number::New(env, static_cast<double>(map.classIndex))));
  object.Set("score", map.score);
  return object;
}

Napi::Value fromReshape(Napi::Env env, const ReshapeTransform& reshape) {
  if (reshape.kind == ReshapeTransform::Kind::None) return env.Null();
  Napi::Object object = Napi::Object::New(env);
  object.Set("kind", reshape.kind == ReshapeTransform::Kind::Tokens ? "tokens" : "nhwc");
  if (reshape.prefixTokens) object.Set("prefixTokens", static_cast<double>(*reshape.prefixTokens));
  if (!reshape.grid.empty()) object.Set("grid", fromShape(env, reshape.grid));
  return object;
}

Napi::Object fromLayer(Napi::Env env, const LayerInfo& layer) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("path", layer.path);
  object.Set("type", layer.type);
  object.Set("depth", layer.depth);
  return object;
}

}  // namespace

HandleCounts handleCounts() {
  return {Handle<TensorBox>::alive(), Handle<ModelHolder>::alive(),
          Handle<std::shared_ptr<ScriptedTarget>>::alive(), Handle<std::shared_ptr<Cancellation>>::alive()};
}

Napi::Object fromTensor(Napi::Env env, TensorHandle tensor) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("shape", fromShape(env, tensor.shape()));
  object.Set("dtype", elementTypeName(tensor.elementType()));
  object.Set("device", tensor.device());
  object.Set("reference", wrapHandle(env, std::make_unique<TensorBox>(env, std::move(tensor)), kTensorTag));
  return object;
}

const TensorHandle& toTensor(const Napi::Value& reference) {
  const auto& tensor = unwrapHandle<TensorBox>(reference, kTensorTag, "a tensor").tensor();
  if (!tensor) throw Failure("ERR_DISPOSED", "The tensor was disposed and cannot be used any more.");
  return *tensor;
}

void releaseTensor(const Napi::Value& reference) {
  unwrapHandle<TensorBox>(reference, kTensorTag, "a tensor").release();
}

std::vector<TensorHandle> toTensors(const Napi::Value& references) {
  return toVector<TensorHandle>(references, [](const Napi::Value& value) { return toTensor(value); });
}

Napi::Value fromModel(Napi::Env env, std::shared_ptr<Model> model) {
  const ModelFacts facts = model->facts();
  Napi::Object object = Napi::Object::New(env);
  object.Set("device", facts.device);
  object.Set("dtype", facts.elementType
                          ? Napi::Value(Napi::String::New(env, elementTypeName(*facts.elementType)))
                          : env.Null());
  object.Set("parameterCount", static_cast<double>(facts.parameterCount));
  object.Set("byteLength", static_cast<double>(facts.byteLength));
  object.Set("frozen", facts.frozen);
  object.Set("exported", facts.exported);
  object.Set("exportedBatch", facts.exportedBatch ? Napi::Value(Napi::Number::New(
                                                        env, static_cast<double>(*facts.exportedBatch)))
                                                  : env.Null());
  object.Set("takesImageList", facts.takesImageList);
  const auto layers = model->layers();
  Napi::Array list = Napi::Array::New(env, layers.size());
  for (uint32_t index = 0; index < layers.size(); ++index) list.Set(index, fromLayer(env, layers[index]));
  object.Set("layers", list);
  Napi::Array methods = Napi::Array::New(env, facts.methods.size());
  for (uint32_t index = 0; index < facts.methods.size(); ++index) methods.Set(index, facts.methods[index]);
  object.Set("methods", methods);
  Napi::Array signatures = Napi::Array::New(env, facts.signatures.size());
  for (uint32_t index = 0; index < facts.signatures.size(); ++index)
    signatures.Set(index, facts.signatures[index]);
  object.Set("signatures", signatures);
  const auto weights = model->weights();
  Napi::Array named = Napi::Array::New(env, weights.size());
  for (uint32_t index = 0; index < weights.size(); ++index) {
    Napi::Object weight = Napi::Object::New(env);
    weight.Set("name", weights[index].name);
    weight.Set("shape", fromShape(env, weights[index].shape));
    named.Set(index, weight);
  }
  object.Set("weights", named);
  auto box = std::make_shared<ModelBox>();
  box->model = std::move(model);
  box->byteLength = facts.device == "cpu" ? facts.byteLength : 0;  // V8 counts the process's own memory
  Napi::MemoryManagement::AdjustExternalMemory(env, box->byteLength);
  object.Set("reference",
             wrapHandle(env, std::unique_ptr<ModelHolder>(new ModelHolder{env, std::move(box)}), kModelTag));
  return object;
}

std::shared_ptr<ModelBox> toModelBox(const Napi::Value& reference) {
  return unwrapHandle<ModelHolder>(reference, kModelTag, "a model").box;
}

Napi::Value fromScriptedTarget(Napi::Env env, std::shared_ptr<ScriptedTarget> target) {
  return wrapHandle(env, std::make_unique<std::shared_ptr<ScriptedTarget>>(std::move(target)),
                    kScriptedTargetTag);
}

std::shared_ptr<ScriptedTarget> toScriptedTarget(const Napi::Value& reference) {
  return unwrapHandle<std::shared_ptr<ScriptedTarget>>(reference, kScriptedTargetTag, "a TorchScript target");
}

Napi::Value fromCancellation(Napi::Env env) {
  return wrapHandle(env, std::make_unique<std::shared_ptr<Cancellation>>(std::make_shared<Cancellation>()),
                    kCancellationTag);
}

std::shared_ptr<Cancellation> toCancellation(const Napi::Value& reference) {
  return unwrapHandle<std::shared_ptr<Cancellation>>(reference, kCancellationTag, "a cancellation");
}

Napi::Value fromOutput(Napi::Env env, const OutputTree& output) {
  if (const auto* tensor = std::get_if<TensorHandle>(&output.value)) return fromTensor(env, *tensor);
  if (const auto* list = std::get_if<OutputTree::List>(&output.value)) {
    Napi::Array array = Napi::Array::New(env, list->size());
    for (uint32_t index = 0; index < list->size(); ++index) array.Set(index, fromOutput(env, (*list)[index]));
    return array;
  }
  if (const auto* dict = std::get_if<OutputTree::Dict>(&output.value)) {
    Napi::Object object = Napi::Object::New(env);
    for (const auto& [key, value] : *dict) {
      object.DefineProperty(
          Napi::PropertyDescriptor::Value(key, fromOutput(env, value), napi_default_jsproperty));
    }
    return object;
  }
  if (const auto* number = std::get_if<double>(&output.value)) return Napi::Number::New(env, *number);
  if (const auto* truth = std::get_if<bool>(&output.value)) return Napi::Boolean::New(env, *truth);
  if (const auto* text = std::get_if<std::string>(&output.value)) return Napi::String::New(env, *text);
  return env.Null();
}

Napi::Value fromInspection(Napi::Env env, const Inspection& inspection) {
  Napi::Array layers = Napi::Array::New(env, inspection.layers.size());
  for (uint32_t index = 0; index < inspection.layers.size(); ++index) {
    const LayerReport& report = inspection.layers[index];
    Napi::Object layer = fromLayer(env, report.layer);
    Napi::Array shapes = Napi::Array::New(env, report.outputShapes.size());
    for (uint32_t call = 0; call < report.outputShapes.size(); ++call) {
      const auto& shape = report.outputShapes[call];
      shapes.Set(call, shape ? Napi::Value(fromShape(env, *shape)) : env.Null());
    }
    layer.Set("calls", static_cast<double>(report.outputShapes.size()));
    layer.Set("outputShapes", shapes);
    Napi::Array parts = Napi::Array::New(env, report.parts.size());
    for (uint32_t part = 0; part < report.parts.size(); ++part) {
      const auto& [selector, shape] = report.parts[part];
      Napi::Object object = Napi::Object::New(env);
      object.Set("output", fromSelector(env, selector));
      object.Set("shape", fromShape(env, shape));
      parts.Set(part, object);
    }
    layer.Set("outputs", parts);
    layers.Set(index, layer);
  }
  Napi::Object suggestion = Napi::Object::New(env);
  suggestion.Set("path", inspection.suggestion.path);
  suggestion.Set("reason", inspection.suggestion.reason);
  suggestion.Set("reshape", fromReshape(env, inspection.suggestion.reshape));
  Napi::Object object = Napi::Object::New(env);
  object.Set("layers", layers);
  object.Set("suggestion", suggestion);
  return object;
}

Napi::Value fromExplanation(Napi::Env env, const Explanation& explanation, double queueMilliseconds) {
  Napi::Array maps = Napi::Array::New(env, explanation.maps.size());
  for (uint32_t index = 0; index < explanation.maps.size(); ++index)
    maps.Set(index, fromMap(env, explanation.maps[index]));
  Napi::Array layers = Napi::Array::New(env, explanation.layers.size());
  for (uint32_t index = 0; index < explanation.layers.size(); ++index) {
    const ExplainedLayer& layer = explanation.layers[index];
    Napi::Object object = Napi::Object::New(env);
    object.Set("path", layer.path);
    object.Set("call", layer.callIndex);
    object.Set("output", fromSelector(env, layer.output));
    object.Set("shape", fromShape(env, layer.shape));
    layers.Set(index, object);
  }
  Napi::Object timings = Napi::Object::New(env);
  timings.Set("queue", queueMilliseconds);
  timings.Set("plan", explanation.timings.plan);
  timings.Set("forward", explanation.timings.forward);
  timings.Set("backward", explanation.timings.backward);
  timings.Set("cam", explanation.timings.cam);
  Napi::Object object = Napi::Object::New(env);
  Napi::Array methods = Napi::Array::New(env, explanation.methods.size());
  for (uint32_t index = 0; index < explanation.methods.size(); ++index) {
    const MethodResult& method = explanation.methods[index];
    Napi::Array positive = Napi::Array::New(env, method.hasPositiveEvidence.size());
    for (uint32_t map = 0; map < method.hasPositiveEvidence.size(); ++map)
      positive.Set(map, Napi::Boolean::New(env, method.hasPositiveEvidence[map]));
    Napi::Object result = Napi::Object::New(env);
    result.Set("heatmaps", fromTensor(env, method.heatmaps));
    result.Set("hasPositiveEvidence", positive);
    methods.Set(index, result);
  }
  object.Set("methods", methods);
  object.Set("outputs", fromOutput(env, explanation.outputs));
  object.Set("maps", maps);
  object.Set("layers", layers);
  object.Set("timings", timings);
  return object;
}

Napi::Value fromPlanDescription(Napi::Env env, const PlanDescription& plan) {
  const auto fromPart = [&](const PlanDescription::Part& part) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("nodes", part.nodes);
    object.Set("graph", part.graph);
    return object;
  };
  Napi::Object object = Napi::Object::New(env);
  object.Set("prefix", fromPart(plan.prefix));
  object.Set("tail", fromPart(plan.tail));
  object.Set("crossingValues", plan.crossingValues);
  object.Set("precision", plan.reducedPrecision ? "bfloat16" : "float32");
  object.Set("foldedBatchNorms", plan.foldedBatchNorms);
  object.Set("fusedBatchNorms", plan.fusedBatchNorms);
  object.Set("fusedConvolutions", plan.fusedConvolutions);
  object.Set("fusedLinears", plan.fusedLinears);
  object.Set("fusedOperations", plan.fusedOperations);
  return object;
}

Napi::Value fromFactorization(Napi::Env env, const Factorization& factorization) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("concepts", fromTensor(env, factorization.concepts));
  object.Set("explanations", fromTensor(env, factorization.explanations));
  object.Set("conceptOutputs", factorization.conceptOutputs
                                   ? Napi::Value(fromTensor(env, *factorization.conceptOutputs))
                                   : env.Null());
  object.Set("outputs", fromOutput(env, factorization.outputs));
  object.Set("rounds", static_cast<double>(factorization.rounds));
  return object;
}

Napi::Value fromPerturbedScores(Napi::Env env, const PerturbedScores& result) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("scores", fromTensor(env, result.scores));
  object.Set("images", result.images ? Napi::Value(fromTensor(env, *result.images)) : env.Null());
  return object;
}

Napi::Value fromAttribution(Napi::Env env, const Attribution& attribution) {
  Napi::Array maps = Napi::Array::New(env, attribution.maps.size());
  for (uint32_t index = 0; index < attribution.maps.size(); ++index) {
    const AttributedMap& map = attribution.maps[index];
    Napi::Object object = fromMap(env, map);
    object.Set("convergenceDelta", map.convergenceDelta);
    maps.Set(index, object);
  }
  Napi::Object object = Napi::Object::New(env);
  object.Set("attributions", fromTensor(env, attribution.attributions));
  object.Set("outputs", fromOutput(env, attribution.outputs));
  object.Set("maps", maps);
  return object;
}

}  // namespace gradcam
