#pragma once

#include <optional>
#include <string>
#include <vector>

#include "api/cancellation.h"
#include "api/model.h"
#include "api/targets.h"

namespace gradcam {

// What is done to images before the model is asked again.
struct Perturbation {
  enum class Kind {
    None,
    Multiply,        // by the heatmap
    RemoveMost,      // relevant pixels, imputed (ROAD)
    RemoveLeast,     // relevant pixels, imputed
    DeletionCurve,   // the most relevant pixels become the baseline, step by step
    InsertionCurve,  // the baseline becomes the image, step by step
  } kind = Kind::None;
  std::optional<double> percentile;  // Remove; none: Otsu's threshold
  double noise = 0.01;               // Remove: of the imputed values
  int64_t seed = 0;
  int64_t steps = 0;    // Curve: pixels in each step
  double baseline = 0;  // Curve
};

struct PerturbedScoresRequest {
  GivenInputs inputs;                    // the first is the images, [B, C, H, W]
  std::optional<TensorHandle> heatmaps;  // [B, H, W], one for each image
  std::string modelMethod = "forward";   // which of the model's methods runs
  OutputSelector output;
  TargetsPerImage targets;  // one for each image
  Perturbation perturbation;
  int64_t batchSize = 16;
};

struct PerturbedScores {
  TensorHandle scores;                 // float64 [B], of curves [B, points]
  std::optional<TensorHandle> images;  // as the model saw them; none for curves
};

// The scores of the targets once the images were perturbed. Throws what explain() throws, and ERR_INPUT_SHAPE
// where heatmaps and images do not fit.
PerturbedScores perturbedScores(const Model& model,
                                const PerturbedScoresRequest& request,
                                const Cancellation& cancellation);

}  // namespace gradcam
