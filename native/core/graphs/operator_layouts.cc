#include "core/graphs/operator_layouts.h"

#include <string>
#include <unordered_set>

#include "core/hooks/forward_hooks.h"
#include "core/script/own_operators.h"

namespace gradcam {
namespace {

using torch::jit::Node;
using Kinds = std::unordered_set<std::string>;

}  // namespace

bool seesStrides(const Node* node) {
  static const Kinds kinds = {"aten::view",           "aten::view_as",      "aten::as_strided",
                              "aten::as_strided_",    "aten::unflatten",    "aten::stride",
                              "aten::is_contiguous",  "aten::_unsafe_view", "aten::_reshape_alias",
                              "aten::storage_offset", "aten::resize_",      "aten::resize_as_",
                              "aten::set_",           "aten::view_as_real", "aten::view_as_complex"};
  return kinds.count(node->kind().toQualString()) > 0;
}

bool isForeign(const Node* node) {
  const std::string space = node->kind().ns().toUnqualString();
  return space != "aten" && space != "prim" && space != "prims" && !isOwnOperator(node);
}

bool maySeeStridesByWrites(const Node* node) {
  static const Kinds kinds = {"aten::reshape", "aten::reshape_as", "aten::flatten", "aten::contiguous",
                              "aten::ravel"};
  return kinds.count(node->kind().toQualString()) > 0;
}

bool isExactInRows(const Node* node) {
  if (node->kind() == c10::Symbol::fromQualString("aten::group_norm")) return true;
  if (node->kind() != c10::Symbol::fromQualString("aten::batch_norm")) return false;
  constexpr std::size_t training = 5;
  const auto known = torch::jit::toIValue(node->input(training));
  return !known || !known->isBool() || known->toBool();
}

bool givesRows(const Node* node) {
  static const Kinds kinds = {"aten::linear",     "aten::matmul",    "aten::mm",
                              "aten::bmm",        "aten::addmm",     "aten::baddbmm",
                              "aten::layer_norm", "aten::embedding", "aten::contiguous"};
  return kinds.count(node->kind().toQualString()) > 0;
}

bool followsOrder(const Node* node) {
  static const Kinds kinds = {"aten::batch_norm",
                              "aten::relu",
                              "aten::relu_",
                              "aten::relu6",
                              "aten::relu6_",
                              "aten::silu",
                              "aten::silu_",
                              "aten::mish",
                              "aten::gelu",
                              "aten::hardswish",
                              "aten::hardswish_",
                              "aten::hardsigmoid",
                              "aten::hardsigmoid_",
                              "aten::hardtanh",
                              "aten::hardtanh_",
                              "aten::sigmoid",
                              "aten::sigmoid_",
                              "aten::tanh",
                              "aten::tanh_",
                              "aten::leaky_relu",
                              "aten::leaky_relu_",
                              "aten::elu",
                              "aten::elu_",
                              "aten::prelu",
                              "aten::softplus",
                              "aten::exp",
                              "aten::log",
                              "aten::sqrt",
                              "aten::rsqrt",
                              "aten::abs",
                              "aten::neg",
                              "aten::clamp",
                              "aten::clamp_",
                              "aten::clamp_min",
                              "aten::clamp_min_",
                              "aten::dropout",
                              "aten::dropout_",
                              "aten::feature_dropout",
                              "aten::max_pool1d",
                              "aten::max_pool2d",
                              "aten::max_pool3d",
                              "aten::avg_pool1d",
                              "aten::avg_pool2d",
                              "aten::avg_pool3d",
                              "aten::adaptive_avg_pool1d",
                              "aten::adaptive_avg_pool2d",
                              "aten::adaptive_avg_pool3d",
                              "aten::adaptive_max_pool1d",
                              "aten::adaptive_max_pool2d",
                              "aten::adaptive_max_pool3d",
                              "aten::upsample_nearest1d",
                              "aten::upsample_nearest2d",
                              "aten::upsample_nearest3d",
                              "aten::upsample_linear1d",
                              "aten::upsample_bilinear2d",
                              "aten::upsample_bicubic2d",
                              "aten::upsample_trilinear3d",
                              "aten::instance_norm",
                              "aten::group_norm",
                              "aten::local_response_norm",
                              "aten::softmax",
                              "aten::log_softmax",
                              "aten::pow",
                              "aten::add",
                              "aten::add_",
                              "aten::sub",
                              "aten::sub_",
                              "aten::mul",
                              "aten::mul_",
                              "aten::div",
                              "aten::div_",
                              "aten::cat",
                              "aten::constant_pad_nd",
                              "aten::reflection_pad1d",
                              "aten::reflection_pad2d",
                              "aten::reflection_pad3d",
                              "aten::replication_pad1d",
                              "aten::replication_pad2d",
                              "aten::replication_pad3d",
                              "aten::pad"};
  if (kinds.count(node->kind().toQualString()) > 0) return true;
  return node->kind() == markSymbol() || node->kind() == forwardHookSymbol();
}

bool isConvolution(const Node* node) {
  static const Kinds kinds = {"aten::conv1d",
                              "aten::conv2d",
                              "aten::conv3d",
                              "aten::_convolution",
                              "aten::_convolution_mode",
                              "aten::conv_transpose2d",
                              "aten::conv_transpose1d",
                              "aten::conv_transpose3d"};
  return kinds.count(node->kind().toQualString()) > 0;
}

bool takesPart(const Node* node) {
  static const Kinds kinds = {"aten::slice", "aten::narrow",           "aten::select",       "aten::chunk",
                              "aten::split", "aten::split_with_sizes", "aten::tensor_split", "aten::unbind"};
  return kinds.count(node->kind().toQualString()) > 0;
}

bool passesOn(const Node* node) {
  static const Kinds kinds = {"prim::TupleConstruct", "prim::ListUnpack",  "prim::TupleUnpack",
                              "prim::TupleIndex",     "aten::__getitem__", "prim::unchecked_cast",
                              "aten::detach",         "aten::alias",       "prim::NumToTensor"};
  return kinds.count(node->kind().toQualString()) > 0;
}

}  // namespace gradcam
