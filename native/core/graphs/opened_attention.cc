#include "core/graphs/opened_attention.h"

#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "core/script/graph_walk.h"
#include "core/script/operator_arguments.h"
#include "core/script/own_operators.h"

namespace gradcam {
namespace {

using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

// Self-attention without a mask whose attention weights nobody uses, or asks for: scripted code hands them
// on, whatever they are.
bool isSelfAttention(const Node* node) {
  if (std::string(node->kind().toQualString()) != "aten::_native_multi_head_attention") return false;
  const bool oneInput = node->namedInput("query") == node->namedInput("key") &&
                        node->namedInput("query") == node->namedInput("value");
  const auto mask = constantInput(node, "mask");
  const auto heads = constantInput(node, "num_head");
  const bool noWeights =
      node->outputs()[1]->uses().empty() || constantInput(node, "need_weights") == c10::IValue(false);
  return oneInput && mask && mask->isNone() && heads && heads->isInt() && noWeights;
}

void openAttention(Node* node) {
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
  if (node->outputs()[1]->uses().empty()) return;
  Node* noWeights =
      graph.insertNode(graph.createAutogradZero());  // an undefined tensor, as the operator gives
  node->outputs()[1]->replaceAllUsesWith(noWeights->output());
}

// A layer of nn.TransformerEncoder, which a trace under no_grad holds as one operator without a derivative.
bool isEncoderLayer(const Node* node) {
  if (std::string(node->kind().toQualString()) != "aten::_transformer_encoder_layer_fwd") return false;
  const auto isFlag = [&](const char* name) {
    const auto flag = constantInput(node, name);
    return flag && flag->isBool();
  };
  return isFlag("use_gelu") && isFlag("norm_first");
}

// Written out as LibTorch computes it (ATen/native/transformers/transformer.cpp).
void openEncoderLayer(Node* node) {
  Graph& graph = *node->owningGraph();
  torch::jit::WithInsertPoint here(node);
  const auto run = [&](const char* name, const std::vector<torch::jit::NamedValue>& arguments) {
    return graph.insert(c10::Symbol::fromQualString(name), arguments);
  };
  const auto given = [&](const char* name) { return node->namedInput(name); };
  const bool normFirst = constantInput(node, "norm_first")->toBool();
  const auto norm = [&](Value* tokens, const char* weight, const char* bias) {
    Value* shape = graph.insertNode(graph.createList(c10::IntType::get(), {given("embed_dim")}))->output();
    return run("aten::layer_norm", {tokens, shape, given(weight), given(bias), given("eps")});
  };
  Value* source = given("src");
  Value* tokens = normFirst ? norm(source, "norm_weight_1", "norm_bias_1") : source;
  Node* attention = graph.insertNode(
      graph.create(c10::Symbol::fromQualString("aten::_native_multi_head_attention"),
                   {tokens, tokens, tokens, given("embed_dim"), given("num_heads"), given("qkv_weight"),
                    given("qkv_bias"), given("proj_weight"), given("proj_bias"), given("mask"),
                    graph.insertConstant(false), graph.insertConstant(true), given("mask_type")},
                   2));
  tokens = run("aten::add", {attention->output(0), source});
  if (!normFirst) tokens = norm(tokens, "norm_weight_1", "norm_bias_1");
  Value* inner = normFirst ? norm(tokens, "norm_weight_2", "norm_bias_2") : tokens;
  inner = run("aten::linear", {inner, given("ffn_weight_1"), given("ffn_bias_1")});
  inner = run(constantInput(node, "use_gelu")->toBool() ? "aten::gelu" : "aten::relu", {inner});
  inner = run("aten::linear", {inner, given("ffn_weight_2"), given("ffn_bias_2")});
  tokens = run("aten::add", {inner, tokens});
  if (!normFirst) tokens = norm(tokens, "norm_weight_2", "norm_bias_2");
  node->output()->replaceAllUsesWith(tokens);
}

void replaceEach(Graph& graph, bool (*isWanted)(const Node*), void (*insertReplacement)(Node*)) {
  forEachNode(graph.block(), [&](Node* node) {
    if (!isWanted(node)) return;
    insertReplacement(node);
    node->destroy();
  });
}

// nn.TransformerEncoder leaves padding out by a nested tensor, whose sizes cannot be asked for.
bool makesNestedTensor(const Node* node) {
  return std::string(node->kind().toQualString()) == "aten::_nested_tensor_from_mask";
}

// The arguments of scaled_dot_product_attention that make its scores; its mask is none, true where a key
// counts, or an addend.
at::Tensor scoresOfAttention(const at::Tensor& query,
                             at::Tensor key,
                             const std::optional<at::Tensor>& mask,
                             bool causal,
                             const std::optional<double>& scale,
                             bool groupedHeads) {
  constexpr double kNever = -std::numeric_limits<double>::infinity();
  if (groupedHeads) key = key.repeat_interleave(query.size(-3) / key.size(-3), -3);
  const double factor = scale ? *scale : 1 / std::sqrt(static_cast<double>(query.size(-1)));
  at::Tensor scores = at::matmul(query, key.transpose(-2, -1)) * factor;
  if (causal) {
    const auto flags = query.options().dtype(at::kBool);
    scores = scores.masked_fill(at::ones({query.size(-2), key.size(-2)}, flags).tril().logical_not(), kNever);
  }
  if (!mask) return scores;
  return mask->scalar_type() == at::kBool ? scores.masked_fill(mask->logical_not(), kNever) : scores + *mask;
}

void runAttentionScores(torch::jit::Stack& stack) {
  const bool groupedHeads = torch::jit::pop(stack).toBool();
  const auto scale = torch::jit::pop(stack).toOptional<double>();
  const bool causal = torch::jit::pop(stack).toBool();
  const auto mask = torch::jit::pop(stack).toOptional<at::Tensor>();
  const at::Tensor key = torch::jit::pop(stack).toTensor();
  const at::Tensor query = torch::jit::pop(stack).toTensor();
  torch::jit::push(stack, scoresOfAttention(query, key, mask, causal, scale, groupedHeads));
}

void runAttentionValues(torch::jit::Stack& stack) {
  const bool groupedHeads = torch::jit::pop(stack).toBool();
  at::Tensor value = torch::jit::pop(stack).toTensor();
  const at::Tensor attention = torch::jit::pop(stack).toTensor();
  if (groupedHeads) value = value.repeat_interleave(attention.size(-3) / value.size(-3), -3);
  torch::jit::push(stack, at::matmul(attention, value));
}

// What stands in front of the softmax.
const c10::Symbol& attentionScoresSymbol() {
  static const c10::Symbol symbol = registerOperator(
      "attention_scores(Tensor query, Tensor key, Tensor? mask, bool causal, float? scale, "
      "bool grouped_heads) -> Tensor",
      runAttentionScores);
  return symbol;
}

// What stands behind it.
const c10::Symbol& attentionValuesSymbol() {
  static const c10::Symbol symbol = registerOperator(
      "attention_values(Tensor attention, Tensor value, bool grouped_heads) -> Tensor", runAttentionValues);
  return symbol;
}

bool isProduct(const Node* node) {
  return std::string(node->kind().toQualString()) == "aten::scaled_dot_product_attention" &&
         constantInput(node, "dropout_p") == c10::IValue(0.0);
}

void openProduct(Node* node) {
  Graph& graph = *node->owningGraph();
  torch::jit::WithInsertPoint here(node);
  const auto given = [&](const char* name,
                         const c10::IValue& otherwise) {  // older schemas lack the last arguments
    return node->hasNamedInput(name) ? node->namedInput(name) : graph.insertConstant(otherwise);
  };
  Value* groupedHeads = given("enable_gqa", false);
  Value* scores = graph
                      .insertNode(graph.create(
                          attentionScoresSymbol(),
                          {node->namedInput("query"), node->namedInput("key"), node->namedInput("attn_mask"),
                           node->namedInput("is_causal"), given("scale", c10::IValue()), groupedHeads},
                          1))
                      ->output();
  Value* attention = graph.insert(c10::aten::softmax, {scores, -1});
  Node* values = graph.insertNode(
      graph.create(attentionValuesSymbol(), {attention, node->namedInput("value"), groupedHeads}, 1));
  node->output()->replaceAllUsesWith(values->output());
}

}  // namespace

void openScaledDotProducts(std::shared_ptr<Graph>& graph) {
  replaceEach(*graph, isProduct, openProduct);
}

void openSelfAttention(std::shared_ptr<Graph>& graph) {
  if (anyNode(graph->block(), makesNestedTensor)) return;
  replaceEach(*graph, isEncoderLayer, openEncoderLayer);
  replaceEach(*graph, isSelfAttention, openAttention);
}

}  // namespace gradcam
