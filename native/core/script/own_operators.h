#pragma once

#include <string>

#include "core/process/torch.h"

namespace gradcam {

// Operators of ours in models' graphs. They are known process-wide, and two copies of the addon may be loaded
// (of two packages, say) whose hooks must not see each other: the names of each copy are its own.

// Makes an operator known and gives its name. `schema` is without a namespace, "own(t value) -> t". What it
// gives is to be kept in a static variable, for a name can be registered only once.
c10::Symbol registerOperator(const std::string& schema,
                             torch::jit::Operation run,
                             c10::AliasAnalysisKind aliases = c10::AliasAnalysisKind::FROM_SCHEMA);

bool isOwnOperator(const torch::jit::Node* node);

}  // namespace gradcam
