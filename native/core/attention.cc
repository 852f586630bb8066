#include "core/attention.h"

#include "core/constant_input.h"

namespace gradcam {
namespace {

using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

// Self-attention without a mask whose attention weights nobody uses.
bool canBeOpened(const Node* node) {
  if (std::string(node->kind().toQualString()) != "aten::_native_multi_head_attention") return false;
  const bool oneInput = node->namedInput("query") == node->namedInput("key") &&
                        node->namedInput("query") == node->namedInput("value");
  const bool noMask = node->namedInput("mask")->type()->isSubtypeOf(*c10::NoneType::get());
  const auto heads = constantInput(node, "num_head");
  return oneInput && noMask && heads && heads->isInt() && node->outputs()[1]->uses().empty();
}

void open(Node* node) {
  Graph& graph = *node->owningGraph();
  torch::jit::WithInsertPoint here(node);
  const auto run = [&](const char* name, const std::vector<torch::jit::NamedValue>& arguments) {
    return graph.insert(c10::Symbol::fromQualString(name), arguments);
  };
  Value* tokens = node->namedInput("query");  // [batch, tokens, features]
  Value* batch = run("aten::size", {tokens, 0});
  Value* length = run("aten::size", {tokens, 1});
  Value* features = run("aten::size", {tokens, 2});
  Value* heads = node->namedInput("num_head");
  const auto listOf = [&](const std::vector<Value*>& sizes) {
    return graph.insertNode(graph.createList(c10::IntType::get(), sizes))->output();
  };
  Value* three = graph.insertConstant(3);
  Value* rest = graph.insertConstant(-1);
  Value* projected =
      run("aten::linear", {tokens, node->namedInput("qkv_weight"), node->namedInput("qkv_bias")});
  Value* split = run("aten::reshape", {projected, listOf({batch, length, three, heads, rest})});
  const auto part = [&](int index) {  // [batch, heads, tokens, features / heads]
    return run("aten::transpose", {run("aten::select", {split, 2, index}), 1, 2});
  };
  Value* attended = run("aten::scaled_dot_product_attention", {part(0), part(1), part(2)});
  Value* joined =
      run("aten::reshape", {run("aten::transpose", {attended, 1, 2}), listOf({batch, length, features})});
  Value* result =
      run("aten::linear", {joined, node->namedInput("proj_weight"), node->namedInput("proj_bias")});
  node->outputs()[0]->replaceAllUsesWith(result);
}

void openAll(torch::jit::Block* block) {
  for (auto position = block->nodes().begin(); position != block->nodes().end();) {
    Node* node = *position++;
    for (torch::jit::Block* inner : node->blocks()) openAll(inner);
    if (!canBeOpened(node)) continue;
    open(node);
    node->destroy();
  }
}

bool isPlainProduct(const Node* node) {
  if (std::string(node->kind().toQualString()) != "aten::scaled_dot_product_attention") return false;
  const auto isConstant = [&](const char* name, const c10::IValue& value) {
    if (!node->hasNamedInput(name)) return true;  // older schemas lack it
    const auto given = constantInput(node, name);
    return given && *given == value;
  };
  const bool noMask = node->namedInput("attn_mask")->type()->isSubtypeOf(*c10::NoneType::get());
  const bool readable = !node->hasNamedInput("scale") ||
                        node->namedInput("scale")->type()->kind() != c10::TypeKind::OptionalType;
  return noMask && readable && isConstant("is_causal", false) && isConstant("enable_gqa", false) &&
         isConstant("dropout_p", 0.0);
}

void openProducts(torch::jit::Block* block) {
  for (auto position = block->nodes().begin(); position != block->nodes().end();) {
    Node* node = *position++;
    for (torch::jit::Block* inner : node->blocks()) openProducts(inner);
    if (!isPlainProduct(node)) continue;
    Graph& graph = *node->owningGraph();
    torch::jit::WithInsertPoint here(node);
    const auto run = [&](const char* name, const std::vector<torch::jit::NamedValue>& arguments) {
      return graph.insert(c10::Symbol::fromQualString(name), arguments);
    };
    Value* query = node->namedInput("query");
    const bool scaled = node->hasNamedInput("scale") && constantInput(node, "scale") != c10::IValue();
    Value* scale =
        scaled ? node->namedInput("scale") : run("aten::pow", {run("aten::size", {query, -1}), -0.5});
    Value* keys = run("aten::transpose", {node->namedInput("key"), -2, -1});
    Value* products = run("aten::mul", {run("aten::matmul", {query, keys}), scale});
    Value* attention = run("aten::softmax", {products, -1});
    node->output()->replaceAllUsesWith(run("aten::matmul", {attention, node->namedInput("value")}));
    node->destroy();
  }
}

}  // namespace

void openScaledDotProducts(std::shared_ptr<Graph>& graph) {
  openProducts(graph->block());
}

void openSelfAttention(std::shared_ptr<Graph>& graph) {
  openAll(graph->block());
}

}  // namespace gradcam
