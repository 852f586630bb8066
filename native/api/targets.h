#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/tensor_handle.h"

namespace gradcam {

class ScriptedTarget;  // a TorchScript module that maps an output to a score; see api/scripted_target.h

// What a map explains: a scalar made from one image's output. Names and formulas are pytorch-grad-cam's;
// target_scores.cc has them.
struct Target {
  enum class Kind {
    Class,          // the output of class `category`
    Rank,           // the output of the class with the (category + 1)-th highest output; 0 is the argmax
    Softmax,        // its probability
    ReST,           // its output plus the logarithm of its probability
    Binary,         // the one output, negated for category 0
    RawScores,      // the sum of all outputs
    SoftmaxOutput,  // the sum of all probabilities
    Segmentation,   // the category's outputs inside of `tensor`, a mask
    Boxes,          // detection: score and overlap of the boxes that match those in `tensor`, [n, 4]
    Finer,          // `category` against `others`, each weighted by its probability
    FinerRanks,     // the same, with the classes whose outputs are nearest to it
    Vector,         // the dot product with `tensor`
    Cosine,         // the cosine similarity to `tensor`
    Concept,        // 1 minus that
    Scripted,       // what `scripted` says
    Function,       // what `function` makes of the output
  } kind = Kind::Rank;
  int64_t category = 0;         // FinerRanks: -1 for the argmax
  std::vector<int64_t> others;  // categories, or ranks of nearness; Boxes: labels
  double alpha = 1;             // Finer; Boxes: the least overlap
  std::optional<TensorHandle> tensor;
  std::shared_ptr<ScriptedTarget> scripted;
  std::function<TensorHandle(const TensorHandle&)> function;  // called on an executor, may wait
};

// One list per image, or one list for all images.
using TargetsPerImage = std::vector<std::vector<Target>>;

// What one map of a result explains.
struct ExplainedMap {
  int64_t imageIndex;
  int64_t targetIndex;
  int64_t classIndex;  // -1 where the target is not a class
  double score;
};

}  // namespace gradcam
