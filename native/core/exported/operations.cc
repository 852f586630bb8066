#include "core/exported/operations.h"

#include <algorithm>
#include <map>

#include "api/failure.h"
#include "core/script/argument_conversion.h"

namespace gradcam {
namespace {

using torch::jit::Graph;
using torch::jit::NamedValue;
using torch::jit::Node;
using torch::jit::Value;

// Python's functions of numbers, of which sizes are computed.
const std::map<std::string, const char*> kFunctionsOfNumbers = {
    {"_operator.add", "aten::add"},      {"_operator.sub", "aten::sub"},
    {"_operator.mul", "aten::mul"},      {"_operator.floordiv", "aten::floordiv"},
    {"_operator.truediv", "aten::div"},  {"_operator.mod", "aten::remainder"},
    {"_operator.pow", "aten::pow"},      {"_operator.neg", "aten::neg"},
    {"_operator.eq", "aten::eq"},        {"_operator.ne", "aten::ne"},
    {"_operator.lt", "aten::lt"},        {"_operator.le", "aten::le"},
    {"_operator.gt", "aten::gt"},        {"_operator.ge", "aten::ge"},
    {"_operator.and_", "aten::__and__"}, {"_operator.or_", "aten::__or__"},
    {"torch.sym_not", "aten::__not__"},  {"torch.sym_max", "prim::max"},
    {"torch.sym_min", "prim::min"},      {"torch.sym_int", "aten::Int"},
    {"torch.sym_float", "aten::Float"},  {"torch._sym_sqrt", "aten::sqrt"},
    {"math.trunc", "aten::Int"},         {"math.ceil", "aten::ceil"},
    {"math.floor", "aten::floor"},       {"round", "aten::round"},
};

// What torch.export asks of a tensor's sizes by operators of its own.
const std::map<std::string, const char*> kSymbolicOperators = {
    {"aten::sym_size", "aten::size"},
    {"aten::sym_stride", "aten::stride"},
    {"aten::sym_numel", "aten::numel"},
    {"aten::sym_storage_offset", "aten::storage_offset"},
};

struct OperatorName {
  std::string name;  // aten::add
  std::string overload;
};

// "torch.ops.aten.add.Tensor", or without the front.
OperatorName operatorNameOf(std::string target) {
  const std::string front = "torch.ops.";
  if (target.rfind(front, 0) == 0) target.erase(0, front.size());
  const auto space = target.find('.');
  const auto overload = target.rfind('.');
  if (space == std::string::npos || overload == space) throwDamaged("'" + target + "' is no operator");
  OperatorName operatorName{target.substr(0, space) + "::" + target.substr(space + 1, overload - space - 1),
                            target.substr(overload + 1)};
  if (operatorName.overload == "default") operatorName.overload.clear();
  const auto symbolic = kSymbolicOperators.find(operatorName.name);
  if (symbolic != kSymbolicOperators.end()) operatorName.name = symbolic->second;
  return operatorName;
}

struct Given {
  const Json* argument;
  bool isNumber;
};

std::map<std::string, Given> givenArguments(const Json& node) {
  std::map<std::string, Given> given;
  for (const Json& input : arrayOf(member(node, "inputs"), "inputs")) {
    const Json& argument = member(input, "arg");
    const std::string kind = unionOf(argument, "an argument").kind;
    given[textOf(member(input, "name"), "the name of an argument")] = {&argument, isNumber(kind)};
  }
  return given;
}

// The operator as the file names it; null where a number stands for a tensor, so that another overload is
// meant, or this LibTorch finds another one by the types.
Node* insertNamed(Graph& graph,
                  const OperatorName& wanted,
                  const std::map<std::string, Given>& given,
                  const OperationArguments& arguments) {
  const auto found = torch::jit::findOperatorFor(c10::OperatorName(wanted.name, wanted.overload));
  if (!found) {
    if (torch::jit::getAllOperatorsFor(c10::Symbol::fromQualString(wanted.name)).empty())
      throw std::runtime_error("Unknown builtin op: " + wanted.name);
    return nullptr;
  }
  const auto& schema = found->schema();
  for (const auto& argument : schema.arguments()) {
    const auto each = given.find(argument.name());
    if (each != given.end() && each->second.isNumber && takesTensor(argument)) return nullptr;
  }
  std::vector<Value*> values;
  std::size_t used = 0;
  for (const auto& argument : schema.arguments()) {
    const auto each = given.find(argument.name());
    if (each != given.end()) {
      values.push_back(arguments.valueOf(*each->second.argument, argument.type(), argument.N()));
      ++used;
    } else if (argument.default_value()) {
      values.push_back(graph.insertConstant(*argument.default_value()));
    } else {
      throwDamaged("there is nothing for '" + argument.name() + "' of " + wanted.name);
    }
  }
  if (used != given.size()) throwDamaged(wanted.name + " is given what it does not take");
  Node* node = graph.create(c10::Symbol::fromQualString(wanted.name), values, schema.returns().size());
  for (std::size_t index = 0; index < schema.returns().size(); ++index)
    node->output(index)->setType(schema.returns()[index].type());
  graph.insertNode(node);
  if (const auto* matched = node->maybeSchema();
      matched != nullptr && matched->overload_name() == wanted.overload)
    return node;
  node->destroy();
  return nullptr;
}

// The overload that takes these types, as for a call in Python.
Node* insertByTypes(Graph& graph,
                    const std::string& name,
                    const Json& node,
                    const OperationArguments& arguments) {
  std::vector<NamedValue> inOrder, byName;
  for (const Json& input : arrayOf(member(node, "inputs"), "inputs")) {
    Value* value = arguments.valueOf(member(input, "arg"), nullptr, std::nullopt);
    const Json* kind = findMember(input, "kind");
    if (kind != nullptr && *kind == 2) {
      byName.emplace_back(textOf(member(input, "name"), "the name of an argument"), value);
    } else {
      inOrder.emplace_back(value);
    }
  }
  Value* result = graph.insert(c10::Symbol::fromQualString(name), inOrder, byName);
  if (result->type()->kind() != c10::TypeKind::TupleType) return result->node();
  return graph.insertNode(graph.createTupleUnpack(result));
}

// Whether a BatchNorm has statistics of its own: without it is meant to take those of what it is given.
bool hasStatistics(const Node* node) {
  const auto* schema = node->maybeSchema();
  const auto index = schema ? schema->argumentIndexWithName("running_mean") : std::nullopt;
  return index && node->input(static_cast<std::size_t>(*index))->type()->kind() != c10::TypeKind::NoneType;
}

// Whether the operation trained. In evaluation a BatchNorm takes its own statistics, and dropout keeps all.
bool stopTraining(Node* node) {
  const std::string kind = node->kind().toQualString();
  const bool isDropout = kind.find("dropout") != std::string::npos;
  if (!isDropout && !hasStatistics(node)) return false;
  const auto* schema = node->maybeSchema();
  const auto index = schema ? schema->argumentIndexWithName(isDropout ? "train" : "training") : std::nullopt;
  if (!index) return false;
  const auto position = static_cast<std::size_t>(*index);
  if (torch::jit::toIValue(node->input(position)) != c10::IValue(true)) return false;
  if (!isDropout && node->kind() != c10::aten::batch_norm) {
    throw Failure(
        "ERR_UNSUPPORTED",
        "The program was exported in training mode, and its BatchNorms taken apart. Export it after "
        "model.eval().");
  }
  const torch::jit::WithInsertPoint before(node);
  node->replaceInput(position, node->owningGraph()->insertConstant(false));
  return true;
}

// By name where one is one, taken apart where a list is one.
std::vector<Value*> resultsOf(Graph& graph, Node* node, const Json& outputs) {
  std::vector<Value*> results;
  std::size_t index = 0;
  for (const Json& output : arrayOf(outputs, "outputs")) {
    const Union given = unionOf(output, "a result");
    if (index == node->outputs().size()) throwDamaged("an operation gives more than its operator");
    Value* result = node->output(index++);
    if (given.kind == "as_none") continue;
    if (given.kind != "as_tensors") {
      results.push_back(result);
      continue;
    }
    const std::size_t count = arrayOf(given.value, "a list").size();
    if (result->type()->kind() != c10::TypeKind::ListType) throwDamaged("an operation gives no list");
    const auto unpacked = graph.insertNode(graph.createListUnpack(result, count))->outputs();
    results.insert(results.end(), unpacked.begin(), unpacked.end());
  }
  return results;
}

// Python's arithmetic gives an integer of integers where TorchScript's gives a number.
void asNamed(Graph& graph, std::vector<Value*>& results, const Json& outputs) {
  if (results.size() != 1 || outputs.size() != 1) return;
  if (outputs[0].contains("as_sym_int") && *results[0]->type() == *c10::FloatType::get())
    results[0] = graph.insert(c10::aten::Int, {results[0]});
}

}  // namespace

bool isAssertion(const std::string& target) {
  return target.rfind("torch.ops.aten._assert_", 0) == 0 ||
         target.rfind("torch.ops.aten.sym_constrain_range", 0) == 0;
}

std::vector<Value*> insertOperation(Graph& graph,
                                    const Json& node,
                                    const OperationArguments& arguments,
                                    int& trainingOperations) {
  const std::string target = textOf(member(node, "target"), "target");
  const Json& outputs = member(node, "outputs");
  if (const auto function = kFunctionsOfNumbers.find(target); function != kFunctionsOfNumbers.end()) {
    auto results = resultsOf(graph, insertByTypes(graph, function->second, node, arguments), outputs);
    asNamed(graph, results, outputs);
    return results;
  }
  if (target.rfind("torch.ops.higher_order.", 0) == 0) {
    throw Failure("ERR_UNSUPPORTED",
                  "The program has the higher-order operator '" +
                      target.substr(std::string("torch.ops.higher_order.").size()) +
                      "', which is not read. Write the model without it, or export it with "
                      "torch.jit.trace or torch.jit.script.");
  }
  const bool isOperator = target.find('.') != std::string::npos && target.rfind("_operator.", 0) != 0 &&
                          target.rfind("math.", 0) != 0 && target.rfind("torch.sym_", 0) != 0;
  if (!isOperator) throw Failure("ERR_UNSUPPORTED", "The program calls '" + target + "', which is not read.");
  const OperatorName name = operatorNameOf(target);
  Node* made = insertNamed(graph, name, givenArguments(node), arguments);
  if (made == nullptr) made = insertByTypes(graph, name.name, node, arguments);
  if (stopTraining(made)) ++trainingOperations;
  return resultsOf(graph, made, outputs);
}

}  // namespace gradcam
