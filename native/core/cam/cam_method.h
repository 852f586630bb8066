#pragma once

#include <string>
#include <variant>

#include "core/cam/model_method.h"
#include "core/cam/network_method.h"

namespace gradcam {

// What a formula reads: one target layer's output, or a level of it, for a batch, and one target of each
// image.
struct FormulaInput {
  at::Tensor activations;  // [B, C, ...space], float32 or float64
  at::Tensor gradients;    // of the target's score; undefined for methods that need none
  // The Hessian of the score times the activations; undefined but for methods that need it.
  at::Tensor hessianTimesActivations;
};

// A method that is a formula of a layer's activations and gradients: all of these share one forward and at
// most one walk back for each target of an image. It either weights the activations, which are then summed
// over the channels, or makes its map in another way.
struct LayerFormula {
  enum class Needs { Activations, Gradients, SecondDerivatives };
  using Function = at::Tensor (*)(const FormulaInput&, const MethodRequest&);

  Needs needs;
  Function weightedActivations = nullptr;  // -> [B, C, ...space], or null
  Function map = nullptr;                  // -> [B, ...space], or null
  bool projected = false;  // of the weighted activations always the first principal component, never the sum
};

// A row of the table in cam_methods.cc, the one place that says what kind a method is.
struct CamMethod {
  const char* name;
  std::variant<LayerFormula, ModelMethod, NetworkMethod> how;
};

// Throws ERR_INTERNAL where there is no method of that name.
const CamMethod& camMethod(const std::string& name);

// Null where the method is none of that kind.
template <typename Kind>
const Kind* methodAs(const MethodRequest& request) {
  return std::get_if<Kind>(&camMethod(request.name).how);
}

// Weighted activations, [B, C, ...space], to a raw map: their sum over the channels, or, `projected`, their
// first principal component.
at::Tensor sumChannels(const at::Tensor& weightedActivations, bool projected);

// A formula's raw map, [B, ...space]. For those with a map of their own eigenSmooth changes nothing.
at::Tensor rawMap(const LayerFormula& formula, const FormulaInput& input, const MethodRequest& request);

}  // namespace gradcam
