#include "core/exported/method_builder.h"

#include "api/failure.h"
#include "core/exported/module_tree.h"
#include "core/exported/operations.h"
#include "core/script/module_paths.h"

namespace gradcam {
namespace {

using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

const std::string kBranch = "torch.ops.higher_order.cond";

torch::jit::Module moduleAt(const torch::jit::Module& root, const std::string& path) {
  return valueAtPath(root, path).toModule();
}

bool isWithin(const std::string& path, const std::string& module) {
  if (module.empty()) return true;
  return path.size() > module.size() && path.compare(0, module.size(), module) == 0 &&
         path[module.size()] == '.';
}

bool isIdentifier(const std::string& name) {
  if (name.empty() || std::isdigit(static_cast<unsigned char>(name[0])) != 0) return false;
  for (const char letter : name) {
    if (std::isalnum(static_cast<unsigned char>(letter)) == 0 && letter != '_') return false;
  }
  return true;
}

}  // namespace

// One method while it is written.
class MethodBuilder::Method {
 public:
  Method(MethodBuilder& builder, const CallTree& call)
      : builder_(builder), call_(call), graph_(std::make_shared<Graph>()), self_(graph_->addInput("self")) {
    self_->setType(moduleAt(builder_.root_, call.path).type());
    lastReference_ = graph_->param_node();
  }

  const std::shared_ptr<Graph>& graph() const { return graph_; }
  const std::vector<Need>& needs() const { return needs_; }

  void define(ValueId id, Value* value) {
    value->setType(builder_.valueOf(id).type);
    known_[{id, ""}] = value;
  }

  void insertItems() {
    for (const CallTree::Item& item : call_.items) {
      if (const int* index = std::get_if<int>(&item)) {
        insert(builder_.program_.operations[static_cast<std::size_t>(*index)]);
      } else {
        insertCall(*std::get<std::unique_ptr<CallTree>>(item));
      }
    }
  }

  // Of the module itself, or asked of the caller.
  Value* resolve(const Need& need) {
    const auto found = known_.find(need);
    if (found != known_.end()) return found->second;
    const std::string& path = need.value < 0 ? need.module : builder_.valueOf(need.value).stored;
    Value* value = nullptr;
    if (need.value < 0 && path == call_.path) {
      value = self_;
    } else if (!path.empty() && isWithin(path, call_.path)) {
      value = attribute(path);
    } else if (call_.path.empty()) {
      throwDamaged("an operation takes a value that no operation before gives");
    } else {
      value = graph_->addInput();
      value->setType(need.value < 0 ? moduleAt(builder_.root_, path).type()
                                    : builder_.valueOf(need.value).type);
      needs_.push_back(need);
    }
    return known_[need] = value;
  }

  // The leaf of what the program gives.
  Value* given(const Json& argument, const ValueNames& names) {
    return argumentsIn(names).valueOf(argument, nullptr, std::nullopt);
  }

 private:
  // Before all operations, so that it is there for a branch and what is behind it.
  Value* attribute(const std::string& path) {
    const torch::jit::WithInsertPoint here(lastReference_->next());
    Value* value = self_;
    const std::size_t start = call_.path.empty() ? 0 : call_.path.size() + 1;
    for (std::size_t from = start; from <= path.size();) {
      const std::size_t end = std::min(path.find('.', from), path.size());
      value = graph_->insertGetAttr(value, path.substr(from, end - from));
      from = end + 1;
    }
    lastReference_ = value->node();
    return value;
  }

  OperationArguments argumentsIn(const ValueNames& names) {
    return {*graph_, [this, &names](const std::string& name) {
              return resolve({valueNamed(names, name), ""});
            }};
  }

  void insert(const Operation& operation) {
    const std::string target = textOf(member(*operation.node, "target"), "target");
    if (isAssertion(target)) return;
    const std::vector<Value*> results =
        target == kBranch ? insertBranch(operation) : insertOperator(operation);
    std::vector<std::string> names;
    for (const Json& output : member(*operation.node, "outputs")) {
      for (std::string& name : namesIn(output)) names.push_back(std::move(name));
    }
    if (names.size() != results.size())
      throwDamaged(target + " gives another number of values than it is said to");
    for (std::size_t index = 0; index < names.size(); ++index)
      define(valueNamed(*operation.names, names[index]), results[index]);
  }

  std::vector<Value*> insertOperator(const Operation& operation) {
    return insertOperation(*graph_, *operation.node, argumentsIn(*operation.names),
                           builder_.trainingOperations_);
  }

  // torch.cond(condition, graph, graph, [operands])
  std::vector<Value*> insertBranch(const Operation& operation) {
    const Json& inputs = member(*operation.node, "inputs");
    if (inputs.size() < 3) throwDamaged("a branch has no graphs");
    Value* condition = argumentsIn(*operation.names).valueOf(member(inputs[0], "arg"), nullptr, std::nullopt);
    if (*condition->type() != *c10::BoolType::get()) condition = graph_->insert(c10::aten::Bool, {condition});
    std::vector<ValueId> operands;
    for (std::size_t index = 3; index < inputs.size(); ++index) {
      for (const std::string& name : namesIn(member(inputs[index], "arg")))
        operands.push_back(valueNamed(*operation.names, name));
    }
    Node* branch = graph_->insertNode(graph_->create(c10::prim::If, {condition}, 0));
    std::vector<c10::TypePtr> types;
    for (const std::size_t side : {1u, 2u}) {
      const Json& graph = member(member(member(inputs[side], "arg"), "as_graph"), "graph");
      const InnerGraph inner = readInnerGraph(builder_.program_, graph, operands);
      torch::jit::Block* block = branch->addBlock();
      const torch::jit::WithInsertPoint here(block);
      for (const Operation& each : inner.operations) insert(each);
      for (const Json* output : inner.outputs) {
        Value* value = given(*output, *inner.names);
        block->registerOutput(value);
        if (side == 1) types.push_back(value->type());
      }
      if (block->outputs().size() != types.size()) throwDamaged("two branches do not give the same");
    }
    std::vector<Value*> results;
    for (const c10::TypePtr& type : types) {
      results.push_back(branch->addOutput());
      results.back()->setType(type);
    }
    return results;
  }

  void insertCall(const CallTree& call) {
    const Built built = builder_.build(call);
    std::vector<Value*> arguments = {resolve({-1, call.path})};
    for (const Need& need : built.needs) arguments.push_back(resolve(need));
    Node* node = graph_->create(c10::prim::CallMethod, arguments, 1);
    node->s_(c10::attr::name, call.method);
    node->output()->setType(moduleAt(builder_.root_, call.path)
                                .get_method(call.method)
                                .function()
                                .getSchema()
                                .returns()
                                .at(0)
                                .type());
    graph_->insertNode(node);
    if (built.results.size() == 1) {
      define(built.results[0], node->output());
    } else if (built.results.size() > 1) {
      const auto outputs = graph_->insertNode(graph_->createTupleUnpack(node->output()))->outputs();
      for (std::size_t index = 0; index < outputs.size(); ++index)
        define(built.results[index], outputs[index]);
    }
  }

  MethodBuilder& builder_;
  const CallTree& call_;
  const std::shared_ptr<Graph> graph_;
  Value* const self_;
  Node* lastReference_;
  std::map<Need, Value*> known_;
  std::vector<Need> needs_;
};

MethodBuilder::Built MethodBuilder::build(const CallTree& call) {
  Method method(*this, call);
  method.insertItems();
  Built built{method.needs(), {}};
  for (int index = call.first; index <= call.last; ++index) {
    const Operation& operation = program_.operations[static_cast<std::size_t>(index)];
    for (const Json& output : member(*operation.node, "outputs")) {
      for (const std::string& name : namesIn(output)) {
        const ValueId id = valueNamed(*operation.names, name);
        if (valueOf(id).lastUse > call.last) built.results.push_back(id);
      }
    }
  }
  Graph& graph = *method.graph();
  std::vector<Value*> results;
  for (const ValueId id : built.results) results.push_back(method.resolve({id, ""}));
  if (results.empty()) {
    graph.registerOutput(graph.insertConstant(c10::IValue()));
  } else if (results.size() == 1) {
    graph.registerOutput(results[0]);
  } else {
    graph.registerOutput(graph.insertNode(graph.createTuple(results))->output());
  }
  addMethod(call.path, call.method, method.graph());
  return built;
}

int MethodBuilder::buildForward(const CallTree& calls) {
  Method method(*this, calls);
  Graph& graph = *method.graph();
  for (std::size_t index = 0; index < program_.inputs.size(); ++index) {
    const ProgramInput& input = program_.inputs[index];
    method.define(input.value,
                  graph.addInput(isIdentifier(input.name) ? input.name : "input_" + std::to_string(index)));
  }
  method.insertItems();
  std::vector<Value*> outputs;
  for (const Json* output : program_.outputs) outputs.push_back(method.given(*output, *program_.names));
  graph.registerOutput(packValues(graph, program_.outputTree, outputs));
  addMethod("", "forward", method.graph());
  return trainingOperations_;
}

void MethodBuilder::addMethod(const std::string& path,
                              const std::string& name,
                              std::shared_ptr<Graph> graph) {
  graph->lint();
  const auto type = moduleAt(root_, path).type();
  auto* function = root_._ivalue()->compilation_unit()->create_function(
      c10::QualifiedName(*type->name(), name), std::move(graph));
  type->addMethod(function);
}

}  // namespace gradcam
