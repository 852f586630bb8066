// JavaScript's requests to plain C++ structs.
#include <optional>

#include "binding/conversions.h"
#include "binding/reading.h"
#include "binding/target_conversions.h"

namespace gradcam {
namespace {

std::optional<ElementType> elementTypeNamed(const std::string& name) {
  for (int index = 0; index <= static_cast<int>(ElementType::Bool); ++index) {
    const auto type = static_cast<ElementType>(index);
    if (name == elementTypeName(type)) return type;
  }
  return std::nullopt;
}

OutputSelector toOutputSelector(const Napi::Value& value) {
  OutputSelector selector;
  for (const auto& key : toVector<Napi::Value>(value, [](const Napi::Value& each) { return each; })) {
    if (key.IsNumber()) {
      selector.emplace_back(key.As<Napi::Number>().Int64Value());
    } else {
      selector.emplace_back(std::string(key.ToString()));
    }
  }
  return selector;
}

TargetLayer toTargetLayer(const Napi::Object& object) {
  TargetLayer layer;
  layer.path = need(object, "path").ToString();
  const Napi::Value call = need(object, "call");
  if (call.IsNumber()) {
    layer.call = CallKind::Index;
    layer.callIndex = call.As<Napi::Number>().Int32Value();
    if (layer.callIndex < 0) throw Napi::RangeError::New(object.Env(), "A call's index is at least 0.");
  } else if (std::string(call.ToString()) == "all") {
    layer.call = CallKind::All;
  }
  layer.output = toOutputSelector(need(object, "output"));
  return layer;
}

ReshapeTransform toReshapeTransform(const Napi::Value& value, const GivenInputs& inputs) {
  ReshapeTransform transform;
  const std::vector<int64_t> shape = inputs.tensors.at(0).at(0).shape();
  transform.imageSize = spatialSizesOf(shape);
  if (value.IsNull()) return transform;
  const Napi::Object object = value.ToObject();
  const std::string kind = need(object, "kind").ToString();
  if (kind == "nchw") {
    transform.asItIs = true;
    return transform;
  }
  if (kind == "nhwc") {
    transform.kind = ReshapeTransform::Kind::ChannelsLast;
    return transform;
  }
  if (kind == "featurePyramid") {
    transform.kind = ReshapeTransform::Kind::FeaturePyramid;
    return transform;
  }
  transform.kind = ReshapeTransform::Kind::Tokens;
  const Napi::Value prefix = optional(object, "prefixTokens");
  if (prefix.IsNumber()) transform.prefixTokens = prefix.As<Napi::Number>().Int64Value();
  transform.batchFirst = need(object, "batchFirst").ToBoolean();
  const Napi::Value grid = optional(object, "grid");
  if (grid.IsArray()) {
    transform.grid =
        toVector<int64_t>(grid, [](const Napi::Value& side) { return side.ToNumber().Int64Value(); });
  }
  return transform;
}

MethodRequest toMethodRequest(const Napi::Object& object) {
  MethodRequest method;
  method.name = need(object, "name").ToString();
  method.eigenSmooth = need(object, "eigenSmooth").ToBoolean();
  const auto number = [&](const char* key, double otherwise) {
    const Napi::Value value = optional(object, key);
    return value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : otherwise;
  };
  method.multiplyLayers = optional(object, "multiplyLayers").ToBoolean();
  method.femDeviations = number("femDeviations", method.femDeviations);
  method.seed = static_cast<int64_t>(number("seed", 0));
  method.batchSize = static_cast<int64_t>(number("batchSize", static_cast<double>(method.batchSize)));
  method.ratioToAblate = number("ratioToAblate", method.ratioToAblate);
  const Napi::Value linear = optional(object, "linear");
  if (linear.IsString()) method.linear = linear.ToString();
  method.samples = static_cast<int64_t>(number("samples", static_cast<double>(method.samples)));
  method.deviation = number("deviation", method.deviation);
  const Napi::Value noise = optional(object, "noise");
  if (noise.IsExternal() || noise.IsObject()) method.noise = toTensor(noise);
  return method;
}

ArgumentTree toArgument(const Napi::Value& value, int depth);

// lib/model/arguments.ts hands over copies without a prototype.
Arguments toArguments(const Napi::Value& value, int depth = 0) {
  const Napi::Object object = value.ToObject();
  Arguments arguments;
  // By the names themselves: of a C string, what is behind a NUL is lost.
  for (const Napi::Value& name :
       toVector<Napi::Value>(object.GetPropertyNames(), [](const Napi::Value& each) { return each; }))
    arguments.emplace_back(name.ToString(), toArgument(object.Get(name), depth));
  return arguments;
}

ArgumentTree toArgument(const Napi::Value& value, int depth) {
  if (depth > 64) throw Napi::TypeError::New(value.Env(), "An argument is nested too deeply.");
  if (value.IsNull()) return {};
  if (value.IsBoolean()) return {value.As<Napi::Boolean>().Value()};
  if (value.IsNumber()) return {value.As<Napi::Number>().DoubleValue()};
  if (value.IsBigInt()) {
    bool lossless = false;  // lib/model/arguments.ts has checked the range
    return {value.As<Napi::BigInt>().Int64Value(&lossless)};
  }
  if (value.IsString()) return {value.As<Napi::String>().Utf8Value()};
  if (value.IsArray())
    return {
        toVector<ArgumentTree>(value, [&](const Napi::Value& each) { return toArgument(each, depth + 1); })};
  if (value.IsObject()) return {toArguments(value, depth + 1)};
  throw Napi::TypeError::New(value.Env(), "An argument is of a type that no parameter has.");
}

AugmentationChoice toAugmentation(const Napi::Object& object) {
  return {need(object, "flip").ToBoolean(), need(object, "multiply").ToNumber().DoubleValue()};
}

}  // namespace

GivenInputs toGivenInputs(const Napi::Value& value) {
  const Napi::Object object = value.ToObject();
  return {toVector<std::vector<TensorHandle>>(need(object, "tensors"), toTensors),
          toArguments(need(object, "arguments"))};
}

LoadOptions toLoadOptions(const Napi::Value& value) {
  const Napi::Object object = value.ToObject();
  LoadOptions options;
  options.device = need(object, "device").ToString();
  options.elementType = elementTypeNamed(need(object, "dtype").ToString());
  options.libraries = toVector<std::string>(
      need(object, "libraries"), [](const Napi::Value& path) { return std::string(path.ToString()); });
  options.bfloat16 = std::string(need(object, "precision").ToString()) == "bfloat16";
  options.tf32 = need(object, "tf32").ToBoolean();
  options.cudnnBenchmark = need(object, "cudnnBenchmark").ToBoolean();
  options.arguments = toArguments(need(object, "arguments"));
  return options;
}

std::vector<TargetLayer> toTargetLayers(const Napi::Value& value) {
  return toVector<TargetLayer>(value,
                               [](const Napi::Value& layer) { return toTargetLayer(layer.ToObject()); });
}

WarmUpRequest toWarmUpRequest(const Napi::Value& value) {
  const Napi::Object object = value.ToObject();
  WarmUpRequest request;
  request.inputs = toGivenInputs(need(object, "inputs"));
  request.layers = toTargetLayers(need(object, "layers"));
  request.modelMethod = need(object, "modelMethod").ToString();
  request.optimize = need(object, "optimize").ToBoolean();
  return request;
}

FactorizationRequest toFactorizationRequest(const Napi::Value& value) {
  const Napi::Object object = value.ToObject();
  FactorizationRequest request;
  request.inputs = toGivenInputs(need(object, "inputs"));
  request.layer = toTargetLayers(need(object, "layers")).at(0);
  request.modelMethod = need(object, "modelMethod").ToString();
  request.reshape = toReshapeTransform(need(object, "reshape"), request.inputs);
  request.components = need(object, "components").ToNumber().Int64Value();
  request.seed = need(object, "seed").ToNumber().Int64Value();
  const Napi::Value concepts = optional(object, "startConcepts");
  if (concepts.IsExternal() || concepts.IsObject()) request.startConcepts = toTensor(concepts);
  const Napi::Value explanations = optional(object, "startExplanations");
  if (explanations.IsExternal() || explanations.IsObject())
    request.startExplanations = toTensor(explanations);
  request.linear = need(object, "linear").ToString();
  request.optimize = need(object, "optimize").ToBoolean();
  return request;
}

PerturbedScoresRequest toPerturbedScoresRequest(const Napi::Value& value, const JobContext& context) {
  static const std::map<std::string, Perturbation::Kind> kinds = {
      {"none", Perturbation::Kind::None},
      {"multiply", Perturbation::Kind::Multiply},
      {"remove-most", Perturbation::Kind::RemoveMost},
      {"remove-least", Perturbation::Kind::RemoveLeast},
      {"deletion", Perturbation::Kind::DeletionCurve},
      {"insertion", Perturbation::Kind::InsertionCurve},
  };
  const Napi::Object object = value.ToObject();
  PerturbedScoresRequest request;
  request.inputs = toGivenInputs(need(object, "inputs"));
  const Napi::Value heatmaps = optional(object, "heatmaps");
  if (!heatmaps.IsNull()) request.heatmaps = toTensor(heatmaps);
  request.modelMethod = need(object, "modelMethod").ToString();
  request.output = toOutputSelector(need(object, "output"));
  request.targets = toTargets(need(object, "targets"), context);
  const auto kind = kinds.find(need(object, "kind").ToString());
  if (kind == kinds.end()) throw Napi::TypeError::New(object.Env(), "Unknown perturbation.");
  request.perturbation.kind = kind->second;
  const Napi::Value percentile = optional(object, "percentile");
  if (percentile.IsNumber()) request.perturbation.percentile = percentile.As<Napi::Number>().DoubleValue();
  request.perturbation.noise = need(object, "noise").ToNumber().DoubleValue();
  request.perturbation.seed = need(object, "seed").ToNumber().Int64Value();
  request.perturbation.steps = need(object, "pixelsPerStep").ToNumber().Int64Value();
  request.perturbation.baseline = need(object, "baseline").ToNumber().DoubleValue();
  return request;
}

AttributionRequest toAttributionRequest(const Napi::Value& value, const JobContext& context) {
  const Napi::Object object = value.ToObject();
  AttributionRequest request;
  const std::string kind = need(object, "kind").ToString();
  if (kind == "guided-backprop") request.kind = AttributionRequest::Kind::GuidedBackprop;
  if (kind == "integrated-gradients") request.kind = AttributionRequest::Kind::IntegratedGradients;
  request.inputs = toGivenInputs(need(object, "inputs"));
  request.modelMethod = need(object, "modelMethod").ToString();
  request.output = toOutputSelector(need(object, "output"));
  request.targets = toTargets(need(object, "targets"), context);
  request.rule = need(object, "rule").ToString();
  request.steps = need(object, "steps").ToNumber().Int64Value();
  request.batchSize = need(object, "batchSize").ToNumber().Int64Value();
  request.baseline = need(object, "baseline").ToNumber().DoubleValue();
  return request;
}

ExplainRequest toExplainRequest(const Napi::Value& value, const JobContext& context) {
  const Napi::Object object = value.ToObject();
  ExplainRequest request;
  request.methods = toVector<MethodRequest>(
      need(object, "methods"), [](const Napi::Value& method) { return toMethodRequest(method.ToObject()); });
  request.augmentations = toVector<AugmentationChoice>(
      need(object, "augmentations"), [](const Napi::Value& each) { return toAugmentation(each.ToObject()); });
  request.inputs = toGivenInputs(need(object, "inputs"));
  request.layers = toTargetLayers(need(object, "layers"));
  request.modelMethod = need(object, "modelMethod").ToString();
  request.output = toOutputSelector(need(object, "output"));
  request.targets = toTargets(need(object, "targets"), context);
  request.reshape = toReshapeTransform(need(object, "reshape"), request.inputs);
  const std::string upsample = need(object, "upsample").ToString();
  request.upsample = upsample == "none"      ? Upsampling::None
                     : upsample == "bicubic" ? Upsampling::Cubic
                                             : Upsampling::Linear;
  request.optimize = need(object, "optimize").ToBoolean();
  return request;
}

}  // namespace gradcam
