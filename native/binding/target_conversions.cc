#include "binding/target_conversions.h"

#include <map>

#include "binding/conversions.h"
#include "binding/reading.h"
#include "binding/score_function.h"

namespace gradcam {
namespace {

Target toTarget(const Napi::Object& object, const JobContext& context) {
  static const std::map<std::string, Target::Kind> kinds = {
      {"class", Target::Kind::Class},
      {"rank", Target::Kind::Rank},
      {"softmax", Target::Kind::Softmax},
      {"rest", Target::Kind::ReST},
      {"binary", Target::Kind::Binary},
      {"raw-scores", Target::Kind::RawScores},
      {"softmax-output", Target::Kind::SoftmaxOutput},
      {"segmentation", Target::Kind::Segmentation},
      {"boxes", Target::Kind::Boxes},
      {"finer", Target::Kind::Finer},
      {"finer-ranks", Target::Kind::FinerRanks},
      {"vector", Target::Kind::Vector},
      {"cosine", Target::Kind::Cosine},
      {"concept", Target::Kind::Concept},
      {"scripted", Target::Kind::Scripted},
      {"function", Target::Kind::Function},
  };
  const std::string name = need(object, "kind").ToString();
  const auto kind = kinds.find(name);
  if (kind == kinds.end()) throw Napi::TypeError::New(object.Env(), "Unknown target kind '" + name + "'.");
  Target target;
  target.kind = kind->second;
  const Napi::Value category = optional(object, "category");
  if (category.IsNumber()) target.category = category.As<Napi::Number>().Int64Value();
  const Napi::Value others = optional(object, "others");
  if (others.IsArray())
    target.others =
        toVector<int64_t>(others, [](const Napi::Value& each) { return each.ToNumber().Int64Value(); });
  const Napi::Value alpha = optional(object, "alpha");
  if (alpha.IsNumber()) target.alpha = alpha.As<Napi::Number>().DoubleValue();
  const Napi::Value tensor = optional(object, "tensor");
  if (tensor.IsExternal() || tensor.IsObject()) target.tensor = toTensor(tensor);
  const bool needsTensor = kind->second == Target::Kind::Segmentation ||
                           kind->second == Target::Kind::Boxes || kind->second == Target::Kind::Vector ||
                           kind->second == Target::Kind::Cosine || kind->second == Target::Kind::Concept;
  if (needsTensor && !target.tensor)
    throw Napi::TypeError::New(object.Env(), "A target '" + name + "' needs a tensor.");
  const Napi::Value scripted = optional(object, "scripted");
  if (scripted.IsExternal() || scripted.IsObject()) target.scripted = toScriptedTarget(scripted);
  if (target.kind == Target::Kind::Function) {
    target.function =
        toScoreFunction(need(object, "function").As<Napi::Function>(), context.channel, context.cancellation);
  }
  return target;
}

}  // namespace

TargetsPerImage toTargets(const Napi::Value& value, const JobContext& context) {
  return toVector<std::vector<Target>>(value, [&](const Napi::Value& list) {
    return toVector<Target>(list,
                            [&](const Napi::Value& target) { return toTarget(target.ToObject(), context); });
  });
}

}  // namespace gradcam
