#pragma once

#include <optional>

#include "api/model.h"
#include "api/reshape_transform.h"

namespace gradcam {

struct LayerReport {
  LayerInfo layer;
  // One entry per call, in order; no value where the output was not a tensor.
  std::vector<std::optional<std::vector<int64_t>>> outputShapes;
  // Of the last call, where its output is not a tensor: the tensors in it, by the way to them.
  std::vector<std::pair<OutputSelector, std::vector<int64_t>>> parts;
};

struct LayerSuggestion {
  std::string path;          // empty when there is none
  std::string reason;        // why this layer, or why none
  ReshapeTransform reshape;  // how its output becomes a map
};

struct Inspection {
  std::vector<LayerReport> layers;
  LayerSuggestion suggestion;
};

// Runs a method once and reports what each layer gave. Throws as Model::run does.
Inspection inspect(const Model& model, const std::string& method, const GivenInputs& inputs);

}  // namespace gradcam
