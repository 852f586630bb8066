#include "core/script/own_operators.h"

#include <cstdint>

namespace gradcam {
namespace {

const std::string& ownNamespace() {
  static const char anchor = 0;
  static const std::string space = "gradcam_" + std::to_string(reinterpret_cast<std::uintptr_t>(&anchor));
  return space;
}

}  // namespace

c10::Symbol registerOperator(const std::string& schema,
                             torch::jit::Operation run,
                             c10::AliasAnalysisKind aliases) {
  const std::string qualified = ownNamespace() + "::" + schema;
  torch::jit::registerOperator(torch::jit::Operator(qualified, std::move(run), aliases));
  return c10::Symbol::fromQualString(qualified.substr(0, qualified.find('(')));
}

bool isOwnOperator(const torch::jit::Node* node) {
  return node->kind().ns().toUnqualString() == ownNamespace();
}

}  // namespace gradcam
