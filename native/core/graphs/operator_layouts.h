#pragma once

#include "core/process/torch.h"

namespace gradcam {

// What is known of operators' strides, by their names.

// What these see depends on strides: their first input's, or every tensor's where the operator is not
// LibTorch's.
bool seesStrides(const torch::jit::Node* node);
bool isForeign(const torch::jit::Node* node);

// Whether these share their input's memory depends on strides; it matters where something writes.
bool maySeeStridesByWrites(const torch::jit::Node* node);

// Of channels-last floats LibTorch makes these less exactly (2.13): group_norm's variance is a difference of
// sums there, and maps whose mean is 150 times their spread are a sixth off; batch_norm's, of a batch's own
// statistics, loses a digit.
bool isExactInRows(const torch::jit::Node* node);

// Their result has an order of its own, whatever their input's.
bool givesRows(const torch::jit::Node* node);

// Of inputs in rows they make rows; of channels-last ones, channels-last ones.
bool followsOrder(const torch::jit::Node* node);

bool isConvolution(const torch::jit::Node* node);
bool takesPart(const torch::jit::Node* node);
bool passesOn(const torch::jit::Node* node);

}  // namespace gradcam
