// The targets' formulas. Each makes a scalar of what a model gives for one image.
#include "core/targets/target_scores.h"

#include <algorithm>
#include <sstream>

#include "api/failure.h"
#include "core/process/device_jobs.h"
#include "core/process/host_memory.h"
#include "core/targets/scripted_target.h"
#include "core/values/tensor_state.h"

namespace gradcam {
namespace {

using Kind = Target::Kind;

const at::Tensor& rowOf(const c10::IValue& ofImage) {
  if (ofImage.isTensor()) return ofImage.toTensor();
  throw Failure("ERR_OUTPUT_SHAPE", "This target needs a tensor, but for each image the model gives a " +
                                        ofImage.tagKind() + ". Select a part of the output with `output`.");
}

at::Tensor tensorOf(const Target& target, const at::Tensor& like);

[[noreturn]] void throwSizes(const char* what, const at::Tensor& given, const at::Tensor& row) {
  std::ostringstream message;
  message << what << " has shape " << given.sizes() << ", which does not fit the output of one image, "
          << row.sizes() << ".";
  throw Failure("ERR_OUTPUT_SHAPE", message.str());
}

// pytorch-grad-cam's FinerWeightedTarget (Zhang et al. 2025): how much more the category gets than each other
// class, weighted by that class's probability.
at::Tensor finerScore(const Target& target, const at::Tensor& row) {
  const at::Tensor probabilities = row.softmax(-1);
  at::Tensor numerator = at::zeros({}, row.options());
  at::Tensor denominator = at::zeros({}, row.options());
  for (const int64_t other : target.others) {
    const at::Tensor difference = row.select(-1, target.category) - target.alpha * row.select(-1, other);
    numerator = numerator + probabilities.select(-1, other) * difference;
    denominator = denominator + probabilities.select(-1, other);
  }
  return numerator / (denominator + 1e-9);
}

at::Tensor segmentationScore(const Target& target, const at::Tensor& row) {
  const at::Tensor mask = tensorOf(target, row);
  if (row.dim() != mask.dim() + 1 || row.sizes().slice(1) != mask.sizes()) throwSizes("The mask", mask, row);
  if (target.category >= row.size(0)) {
    throw Failure("ERR_CLASS_OUT_OF_RANGE", "Category " + std::to_string(target.category) +
                                                " does not exist: the model has " +
                                                std::to_string(row.size(0)) + " categories.");
  }
  return (row.select(0, target.category) * mask).sum();
}

at::Tensor elementOf(const c10::Dict<c10::IValue, c10::IValue>& detections, const char* key) {
  if (detections.contains(key) && detections.at(key).isTensor()) return detections.at(key).toTensor();
  throw Failure("ERR_OUTPUT_SHAPE",
                std::string("A box target needs the detections of each image as a dictionary "
                            "with boxes, labels and scores; there is no '") +
                    key + "'.");
}

// Intersection over union of one box, [4], with each of many, [n, 4]; corners x1, y1, x2, y2.
at::Tensor overlaps(const at::Tensor& box, const at::Tensor& boxes) {
  const at::Tensor low = at::maximum(box.slice(0, 0, 2), boxes.slice(1, 0, 2));
  const at::Tensor high = at::minimum(box.slice(0, 2, 4), boxes.slice(1, 2, 4));
  const at::Tensor intersection = (high - low).clamp_min(0).prod(1);
  const at::Tensor area = (box.slice(0, 2, 4) - box.slice(0, 0, 2)).prod(0);
  const at::Tensor areas = (boxes.slice(1, 2, 4) - boxes.slice(1, 0, 2)).prod(1);
  return intersection / (area + areas - intersection);
}

// Whether no edge of one box, [4], is further from that of another than a thousandth of the box's side: a
// detection is found again so, whatever rounding moved it (fused convolutions, a file with few digits).
bool isSameBox(const at::Tensor& box, const at::Tensor& other) {
  const at::Tensor side = (box.slice(0, 2, 4) - box.slice(0, 0, 2)).abs().repeat({2});
  return ((box - other).abs() <= 1e-3 * side).all().item<bool>();
}

// What the wanted boxes met among an image's detections.
struct MatchedBoxes {
  at::Tensor score;
  bool any = false;
  std::string misses;  // the first wanted box without a match, and the detection that came nearest
};

std::string describeMiss(const Target& target, const at::Tensor& box, std::size_t index) {
  std::ostringstream text;
  text << "box " << index << " (";
  for (int64_t edge = 0; edge < 4; ++edge) text << (edge > 0 ? ", " : "") << box[edge].item<double>();
  text << ", label " << target.others.at(index) << ")";
  return text.str();
}

// FasterRCNNBoxScoreTarget: for each wanted box the detection that overlaps most; if it overlaps enough and
// has the wanted label, its overlap plus its score.
MatchedBoxes matchBoxes(const Target& target, const c10::IValue& ofImage) {
  if (!ofImage.isGenericDict()) {
    throw Failure("ERR_OUTPUT_SHAPE",
                  "A box target needs a dictionary of detections for each image, but the model gives a " +
                      ofImage.tagKind() + ".");
  }
  const auto detections = ofImage.toGenericDict();
  const at::Tensor boxes = elementOf(detections, "boxes");
  const at::Tensor labels = elementOf(detections, "labels");
  const at::Tensor scores = elementOf(detections, "scores");
  MatchedBoxes matched{at::zeros({}, scores.options()), false, {}};
  const at::Tensor wanted = tensorOf(target, boxes);
  for (int64_t index = 0; index < wanted.size(0); ++index) {
    const auto position = static_cast<std::size_t>(index);
    const int64_t label = target.others.at(position);
    if (boxes.size(0) == 0) {
      matched.misses = describeMiss(target, wanted[index], position) + ": the model found nothing";
      break;
    }
    const at::Tensor overlap = overlaps(wanted[index], boxes);
    const auto best = overlap.argmax().item<int64_t>();
    const double most = overlap[best].item<double>();
    const auto found = labels[best].item<int64_t>();
    if (most <= target.alpha || found != label) {
      if (!matched.misses.empty()) continue;
      std::ostringstream miss;
      miss << describeMiss(target, wanted[index], position) << ": of " << boxes.size(0)
           << " detections the one that overlaps it most has an overlap (IoU) of " << most << " and label "
           << found;
      matched.misses = miss.str();
      continue;
    }
    matched.any = true;
    // Where the box is the detection itself, the overlap is at its height, 1, and has no slope; rounding must
    // not give it one.
    const bool isItself = isSameBox(wanted[index], boxes[best].detach());
    matched.score =
        matched.score + (isItself ? at::ones({}, scores.options()) : overlap[best]) + scores[best];
  }
  return matched;
}

at::Tensor scriptedScore(const Target& target, const c10::IValue& ofImage) {
  const at::Tensor score = target.scripted->scoreOf(ofImage);
  if (score.numel() == 1) return score.sum();
  throw Failure("ERR_OUTPUT_SHAPE", "A TorchScript target must return a tensor with one element.");
}

// A function in JavaScript that builds the score with Tensor's operations.
at::Tensor functionScore(const Target& target, const at::Tensor& row) {
  synchronizeStream(row.device());  // this thread may wait for the GPU, the JavaScript thread not
  const at::Tensor score = target.function(toHandle(row)).state().tensor.to(row.device());
  if (score.numel() != 1) {
    std::ostringstream message;
    message << "A target function must return a tensor with one element, but it returned one of shape "
            << score.sizes() << ". End it with sum(), mean() or max().";
    throw Failure("ERR_OUTPUT_SHAPE", message.str());
  }
  if (row.requires_grad() && at::GradMode::is_enabled() && !score.requires_grad()) {
    throw Failure(
        "ERR_TARGET_FUNCTION",
        "The score of the target function does not depend on the output, so it has no gradient. Build "
        "it with the operations of the tensor that the function is given (mul, sum, ...), not of "
        "copied values.");
  }
  return score.sum();
}

at::Tensor vectorOf(const Target& target, const at::Tensor& row) {
  const at::Tensor vector = tensorOf(target, row);
  if (vector.numel() != row.numel()) throwSizes("The vector", vector, row);
  return vector.flatten();
}

at::Tensor tensorOf(const Target& target, const at::Tensor& like) {
  return target.tensor->state().tensor.to(like.device(), like.scalar_type());
}

}  // namespace

at::Tensor explainedScoreOf(const Target& target, const c10::IValue& ofImage) {
  if (target.kind != Kind::Boxes) return scoreOf(target, ofImage);
  const MatchedBoxes matched = matchBoxes(target, ofImage);
  if (matched.any) return matched.score;
  std::ostringstream message;
  message
      << "No detection matches " << matched.misses << ", where an overlap of more than " << target.alpha
      << " and the same label are needed. Take the boxes from this model's own detections (detectedBoxes()), "
         "or give a lower iouThreshold.";
  throw Failure("ERR_NO_DETECTION", message.str());
}

at::Tensor scoreOf(const Target& target, const c10::IValue& ofImage) {
  if (target.kind == Kind::Boxes) return matchBoxes(target, ofImage).score;
  if (target.kind == Kind::Scripted) return scriptedScore(target, ofImage);
  const at::Tensor& row = rowOf(ofImage);
  if (target.kind == Kind::Function) return functionScore(target, row);
  switch (target.kind) {
    case Kind::Softmax:
      return row.softmax(-1).select(-1, target.category);
    case Kind::ReST:
      return row.select(-1, target.category) + row.log_softmax(-1).select(-1, target.category);
    case Kind::Binary:
      return (target.category == 1 ? row : -row).sum();
    case Kind::RawScores:
      return row.sum();
    case Kind::SoftmaxOutput:
      return row.softmax(-1).sum();
    case Kind::Segmentation:
      return segmentationScore(target, row);
    case Kind::Finer:
      return finerScore(target, row);
    case Kind::Vector:
      return (row.flatten() * vectorOf(target, row)).sum();
    case Kind::Cosine:
      return at::cosine_similarity(row.flatten(), vectorOf(target, row), 0, 1e-8);
    case Kind::Concept:
      return 1 - at::cosine_similarity(row.flatten(), vectorOf(target, row), 0, 1e-8);
    default:
      return row.select(-1, target.category);
  }
}

at::Tensor scoresOfRows(const Target& target, const c10::IValue& output, int64_t rows) {
  if (target.kind == Kind::Class) return rowOf(output).select(1, target.category);
  std::vector<at::Tensor> scores;
  for (int64_t row = 0; row < rows; ++row) scores.push_back(scoreOf(target, outputOfImage(output, row)));
  return at::stack(scores);
}

at::Tensor scoresOf(const c10::IValue& output, const std::vector<ResolvedTarget>& targets) {
  const at::AutoGradMode record(true);
  const bool onlyClasses = std::all_of(targets.begin(), targets.end(),
                                       [](const auto& each) { return each.target.kind == Kind::Class; });
  if (onlyClasses) {
    std::vector<int64_t> images;
    std::vector<int64_t> classes;
    for (const ResolvedTarget& target : targets) {
      images.push_back(target.imageIndex);
      classes.push_back(target.classIndex);
    }
    const at::Tensor& rows = rowOf(output);
    return rows.index({indexTensor(images, rows.device()), indexTensor(classes, rows.device())});
  }
  std::vector<at::Tensor> scores;
  for (const ResolvedTarget& target : targets) {
    scores.push_back(explainedScoreOf(target.target, outputOfImage(output, target.imageIndex)));
  }
  return at::stack(scores);
}

std::vector<double> scoreValues(const at::Tensor& scores) {
  const at::Tensor values = scores.detach().to(at::kCPU, at::kDouble).contiguous();
  return {values.data_ptr<double>(), values.data_ptr<double>() + values.numel()};
}

}  // namespace gradcam
