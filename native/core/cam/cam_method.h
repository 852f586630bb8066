#pragma once

#include <string>
#include <vector>

#include "core/process/torch.h"

namespace gradcam {

// What a method computes a map from: one call of a target layer, for a batch, and one target of each image.
struct MethodInput {
  at::Tensor activations;  // [B, C, ...space], float32 or float64
  at::Tensor gradients;    // of the target's score; undefined for methods that need none
  // The Hessian of the score times the activations; undefined but for methods that need it.
  at::Tensor hessianTimesActivations;
};

struct MethodSettings {
  double femDeviations = 2;  // FEM: what counts lies that many standard deviations above the mean
  int64_t seed = 0;          // RandomCAM
};

// A class activation map that one forward and at most one walk back give. A method either weights the
// activations, which are then summed over the channels, or makes its map in another way.
struct CamMethod {
  enum class Needs { Activations, Gradients, SecondDerivatives };

  const char* name;
  Needs needs;
  at::Tensor (*weightedActivations)(const MethodInput&,
                                    const MethodSettings&);      // -> [B, C, ...space], or null
  at::Tensor (*map)(const MethodInput&, const MethodSettings&);  // -> [B, ...space], or null
  bool projected = false;  // of the weighted activations always the first principal component, never the sum
};

// Null where there is no method of that name among these.
const CamMethod* findCamMethod(const std::string& name);

// Weighted activations, [B, C, ...space], to a raw map: their sum over the channels, or with `eigenSmooth`
// their first principal component.
at::Tensor sumChannels(const at::Tensor& weightedActivations, bool eigenSmooth);

// The method's raw map, [B, ...space]. For methods with a map of their own `eigenSmooth` changes nothing.
at::Tensor rawMap(const CamMethod& method,
                  const MethodInput& input,
                  const MethodSettings& settings,
                  bool eigenSmooth);

}  // namespace gradcam
