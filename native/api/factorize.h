#pragma once

#include <optional>
#include <string>

#include "api/explain.h"

namespace gradcam {

struct FactorizationRequest {
  GivenInputs inputs;
  TargetLayer layer;
  std::string modelMethod = "forward";  // which of the model's methods runs
  ReshapeTransform reshape;
  int64_t components = 8;
  int64_t seed = 0;
  // Where the descent starts instead of at random: [C, components] and [components, B * places].
  std::optional<TensorHandle> startConcepts, startExplanations;
  std::string linear;  // path of a linear layer that is applied to the concepts; empty: none
  bool optimize = true;
};

struct Factorization {
  TensorHandle concepts;                       // [C, components]
  TensorHandle explanations;                   // [B, components, ...size], each map 0 to 1
  std::optional<TensorHandle> conceptOutputs;  // [components, outputs of the linear layer]
  OutputTree outputs;
  int64_t rounds;
};

// Deep Feature Factorization (Collins et al. 2018): the layer's activations of all images as a product of few
// concepts and where they are, both without negative values, by coordinate descent (scikit-learn's NMF,
// solver 'cd').
Factorization factorize(const Model& model,
                        const FactorizationRequest& request,
                        const Cancellation& cancellation,
                        const Progress& progress);

}  // namespace gradcam
