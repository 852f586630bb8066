#include "core/exported/exported_program.h"

#include <algorithm>

#include "api/failure.h"

namespace gradcam {
namespace {

using SharedNames = std::shared_ptr<ValueNames>;

// Their operations belong to no module: sizes that torch.export asked for itself.
const std::string kNoCall = "_empty_nn_module_stack_from_metadata_hook";
constexpr std::size_t kDeepestCall = 200;
const std::string kGradMode = "torch.ops.higher_order.wrap_with_set_grad_enabled";

std::vector<std::string> splitOutsideBrackets(const std::string& text, char separator) {
  std::vector<std::string> parts(1);
  int depth = 0;
  for (const char letter : text) {
    if (letter == '[' || letter == '(') ++depth;
    if (letter == ']' || letter == ')') --depth;
    if (letter == separator && depth == 0) {
      parts.emplace_back();
    } else {
      parts.back() += letter;
    }
  }
  return parts;
}

// "key,path,type;key,path,type"
std::vector<ModuleCall> callsOf(const Json& node) {
  const Json* metadata = findMember(node, "metadata");
  const Json* stack = metadata == nullptr ? nullptr : findMember(*metadata, "nn_module_stack");
  std::vector<ModuleCall> calls;
  if (stack == nullptr || !stack->is_string()) return calls;
  for (const std::string& entry : splitOutsideBrackets(stack->get<std::string>(), ';')) {
    const auto parts = splitOutsideBrackets(entry, ',');
    if (parts.size() != 3 || parts[0] == kNoCall || parts[1].empty()) continue;
    // A call inside of another call is another one.
    const std::string outer = calls.empty() ? "" : calls.back().key + ";";
    calls.push_back({outer + parts[0], parts[1], parts[2]});
    if (calls.size() > kDeepestCall)
      throwDamaged("modules are called in one another more often than a model has");
  }
  return calls;
}

// Adds the operations of one graph after the other.
class GraphReader {
 public:
  // In a graph inside of an operation, uses are not that operation's.
  explicit GraphReader(ExportedProgram& program, bool countUses = true)
      : program_(program), countUses_(countUses) {}

  void readOperations(const Json& graph, const SharedNames& names, std::vector<Operation>& to) {
    for (const Json& node : arrayOf(member(graph, "nodes"), "nodes")) {
      if (textOf(member(node, "target"), "target") == kGradMode) {
        inlineGradMode(node, names, to);
      } else {
        add(node, names, callsOf(node), to);
      }
    }
  }

  void define(const Json& result, ValueNames& names) {
    const Union given = unionOf(result, "a result");
    const auto type = typeOf(given.kind);
    for (const std::string& name : namesIn(result)) {
      if (!names.emplace(name, static_cast<ValueId>(program_.values.size())).second)
        throwDamaged("there are two values with the name " + name);
      program_.values.push_back({type, {}, false, -1});
    }
  }

 private:
  static c10::TypePtr typeOf(const std::string& kind) {
    if (kind == "as_sym_int") return c10::IntType::get();
    if (kind == "as_sym_float") return c10::FloatType::get();
    if (kind == "as_sym_bool") return c10::BoolType::get();
    if (kind == "as_tensor" || kind == "as_tensors" || kind == "as_none") return c10::TensorType::get();
    throw Failure("ERR_UNSUPPORTED",
                  "The program has an operation whose result is " + kind.substr(3) + ", which is not read.");
  }

  void add(const Json& node,
           const SharedNames& names,
           std::vector<ModuleCall> calls,
           std::vector<Operation>& to) {
    const int index = static_cast<int>(to.size());
    for (const Json& input : arrayOf(member(node, "inputs"), "inputs")) {
      for (const std::string& name : namesIn(member(input, "arg"))) {
        int& lastUse = program_.values[static_cast<std::size_t>(valueNamed(*names, name))].lastUse;
        if (countUses_) lastUse = std::max(lastUse, index);
      }
    }
    for (const Json& output : arrayOf(member(node, "outputs"), "outputs")) define(output, *names);
    rememberWrite(node, *names);
    to.push_back({&node, names, std::move(calls)});
  }

  // What an operator that writes in place gives is the tensor that it wrote to:
  // `torch.ops.aten.relu_.default`.
  void rememberWrite(const Json& node, const ValueNames& names) {
    const std::string target = textOf(member(node, "target"), "target");
    const auto overload = target.rfind('.');
    const bool writes = overload != std::string::npos && overload > 1 && target[overload - 1] == '_' &&
                        target[overload - 2] != '_';
    const Json& inputs = member(node, "inputs");
    const Json& outputs = member(node, "outputs");
    if (!writes || inputs.empty() || outputs.size() != 1) return;
    const auto written = namesIn(member(inputs[0], "arg"));
    const auto result = namesIn(outputs[0]);
    if (written.size() == 1 && result.size() == 1)
      written_[valueNamed(names, result[0])] = valueNamed(names, written[0]);
  }

  // Of a tensor that was written to without its gradients the tensor itself, which keeps them.
  ValueId withOwnGradients(ValueId value) const {
    ValueId written = value;
    for (auto before = written_.find(written); before != written_.end(); before = written_.find(written))
      written = before->second;
    if (written == value) return value;
    const auto attached = attached_.find(written);
    return attached == attached_.end() ? value : attached->second;
  }

  // `with torch.no_grad():` in a forward. What runs in it, writes in place too, sees tensors without their
  // gradients; within `with torch.enable_grad():` again those that have them.
  void inlineGradMode(const Json& node, const SharedNames& names, std::vector<Operation>& to) {
    const Json& inputs = arrayOf(member(node, "inputs"), "inputs");
    if (inputs.size() < 2) throwDamaged("a switch of gradients has no graph");
    const bool enabled = booleanOf(member(member(inputs[0], "arg"), "as_bool"), "the switch of gradients");
    const Json& graph = member(member(member(inputs[1], "arg"), "as_graph"), "graph");
    const auto innerNames = std::make_shared<ValueNames>();
    const Json& parameters = arrayOf(member(graph, "inputs"), "inputs");
    if (parameters.size() + 2 != inputs.size()) throwDamaged("a switch of gradients has not what it takes");
    for (std::size_t index = 0; index < parameters.size(); ++index) {
      const auto inner = namesIn(parameters[index]);
      const auto outer = namesIn(member(inputs[index + 2], "arg"));
      if (inner.size() != outer.size()) throwDamaged("a switch of gradients has not what it takes");
      for (std::size_t each = 0; each < inner.size(); ++each) {
        const ValueId value = valueNamed(*names, outer[each]);
        const auto attached = attached_.find(value);
        const ValueId withGradients = attached == attached_.end() ? value : attached->second;
        (*innerNames)[inner[each]] = enabled ? withGradients : detached(value, names, callsOf(node), to);
      }
    }
    readOperations(graph, innerNames, to);
    std::vector<std::string> given, results;
    for (const Json& output : arrayOf(member(graph, "outputs"), "outputs")) append(given, namesIn(output));
    for (const Json& output : arrayOf(member(node, "outputs"), "outputs")) append(results, namesIn(output));
    if (given.size() != results.size())
      throwDamaged("a switch of gradients does not give what its graph does");
    for (std::size_t index = 0; index < given.size(); ++index) {
      const ValueId value = withOwnGradients(valueNamed(*innerNames, given[index]));
      if (!names->emplace(results[index], value).second)
        throwDamaged("there are two values with the name " + results[index]);
    }
  }

  // A tensor of the program's without its gradient; what is stored or no tensor has none.
  ValueId detached(ValueId value,
                   const SharedNames& names,
                   std::vector<ModuleCall> calls,
                   std::vector<Operation>& to) {
    const ProgramValue& of = program_.values[static_cast<std::size_t>(value)];
    if (!of.stored.empty() || *of.type != *c10::TensorType::get()) return value;
    const std::string number = std::to_string(program_.values.size());
    const std::string given = "attached " + number, result = "detached " + number;
    (*names)[given] = value;
    program_.written.push_back(
        Json{{"target", "torch.ops.aten.detach.default"},
             {"inputs", Json::array({Json{{"name", "self"}, {"arg", {{"as_tensor", {{"name", given}}}}}}})},
             {"outputs", Json::array({Json{{"as_tensor", {{"name", result}}}}})}});
    add(program_.written.back(), names, std::move(calls), to);
    const ValueId made = valueNamed(*names, result);
    attached_[made] = value;
    return made;
  }

  static void append(std::vector<std::string>& to, std::vector<std::string> names) {
    to.insert(to.end(), std::make_move_iterator(names.begin()), std::make_move_iterator(names.end()));
  }

  ExportedProgram& program_;
  const bool countUses_;
  std::unordered_map<ValueId, ValueId> attached_;  // by their detached forms
  std::unordered_map<ValueId, ValueId> written_;   // by what the writes gave
};

std::vector<std::optional<int64_t>> sizesOf(const Json& graph, const std::string& name) {
  std::vector<std::optional<int64_t>> sizes;
  for (const Json& each :
       arrayOf(member(member(member(graph, "tensor_values"), name.c_str()), "sizes"), "sizes")) {
    const Union size = unionOf(each, "a size");
    sizes.push_back(size.kind == "as_int" ? std::optional(integerOf(size.value, "a size")) : std::nullopt);
  }
  return sizes;
}

// What a stored tensor is called, by the kind of its input.
const char* nameOfStored(const std::string& kind) {
  if (kind == "parameter") return "parameter_name";
  if (kind == "buffer") return "buffer_name";
  if (kind == "tensor_constant") return "tensor_constant_name";
  return nullptr;
}

void readInputs(
    ExportedProgram& program, GraphReader& reader, const Json& graph, const Json& specs, ValueNames& names) {
  const Json& inputs = arrayOf(member(graph, "inputs"), "inputs");
  if (arrayOf(specs, "input_specs").size() != inputs.size())
    throwDamaged("its signature does not have the graph's inputs");
  for (std::size_t index = 0; index < inputs.size(); ++index) {
    const Union spec = unionOf(specs[index], "an input");
    if (spec.kind == "constant_input") continue;  // its value is in the operations
    const char* stored = nameOfStored(spec.kind);
    if (stored == nullptr && spec.kind != "user_input")
      throw Failure("ERR_UNSUPPORTED",
                    "The program takes an object of a custom class (" + spec.kind + "), which is not read.");
    reader.define(inputs[index], names);
    const std::vector<std::string> defined = namesIn(inputs[index]);
    if (stored != nullptr) {
      if (defined.size() != 1) throwDamaged("a stored tensor is not one value");
      program.values.back().stored = textOf(member(spec.value, stored), stored);
      program.values.back().isParameter = spec.kind == "parameter";
    } else if (!defined.empty()) {
      const bool isTensor = inputs[index].contains("as_tensor");
      program.inputs.push_back(
          {static_cast<ValueId>(program.values.size()) - 1, defined[0],
           isTensor ? sizesOf(graph, defined[0]) : std::vector<std::optional<int64_t>>{}});
    }
  }
}

void readOutputs(ExportedProgram& program, const Json& graph, const Json& specs) {
  const Json& outputs = arrayOf(member(graph, "outputs"), "outputs");
  if (arrayOf(specs, "output_specs").size() != outputs.size())
    throwDamaged("its signature does not have the graph's outputs");
  for (std::size_t index = 0; index < outputs.size(); ++index) {
    const Union spec = unionOf(specs[index], "an output");
    // What it writes to buffers is of training, what it writes to inputs the caller's own.
    if (spec.kind != "user_output") continue;
    program.outputs.push_back(&outputs[index]);
    for (const std::string& name : namesIn(outputs[index]))
      program.values[static_cast<std::size_t>(valueNamed(*program.names, name))].lastUse = kGiven;
  }
}

void readTrees(ExportedProgram& program, const Json& graphModule) {
  const Json& calls = arrayOf(member(graphModule, "module_call_graph"), "module_call_graph");
  if (calls.empty()) throwDamaged("it does not say how it is called");
  for (const Json& call : calls) {
    const std::string path = textOf(member(call, "fqn"), "fqn");
    if (!path.empty() && path.find('@') == std::string::npos) program.modulePaths.push_back(path);
  }
  const Json& signature = objectOf(member(calls[0], "signature"), "the signature of the program");
  program.outputTree = ValueTree::of(textOf(member(signature, "out_spec"), "out_spec"));
  if (program.outputTree.leaves() != program.outputs.size())
    throwDamaged("it gives another number of values than its graph");
}

}  // namespace

std::vector<std::string> namesIn(const Json& argument) {
  const Union given = unionOf(argument, "an argument");
  std::vector<std::string> names;
  const auto addNamed = [&](const Json& object) {
    names.push_back(textOf(member(object, "name"), "a name"));
  };
  const auto addSymbol = [&](const Json& object) {
    if (const Json* name = findMember(object, "as_name")) names.push_back(textOf(*name, "a name"));
  };
  const auto addOptional = [&](const Json& object) {
    if (const Json* tensor = findMember(object, "as_tensor")) addNamed(*tensor);
  };
  const auto each = [&](const auto& add) {
    for (const Json& value : arrayOf(given.value, "an argument")) add(value);
  };
  const std::string& kind = given.kind;
  if (kind == "as_tensor") {
    addNamed(given.value);
  } else if (kind == "as_tensors") {
    each(addNamed);
  } else if (kind == "as_optional_tensor") {
    addOptional(given.value);
  } else if (kind == "as_optional_tensors") {
    each(addOptional);
  } else if (kind == "as_sym_int" || kind == "as_sym_float" || kind == "as_sym_bool") {
    addSymbol(given.value);
  } else if (kind == "as_sym_ints" || kind == "as_sym_floats" || kind == "as_sym_bools") {
    each(addSymbol);
  }
  return names;
}

ValueId valueNamed(const ValueNames& names, const std::string& name) {
  const auto found = names.find(name);
  if (found == names.end()) throwDamaged("it uses " + name + ", which no operation before gives");
  return found->second;
}

ExportedProgram readProgram(const Json& json) {
  const Json& graphModule = member(json, "graph_module");
  const Json& graph = member(graphModule, "graph");
  const Json& signature = member(graphModule, "signature");
  ExportedProgram program;
  GraphReader reader(program);
  const auto names = std::make_shared<ValueNames>();
  program.names = names;
  readInputs(program, reader, graph, member(signature, "input_specs"), *names);
  reader.readOperations(graph, names, program.operations);
  readOutputs(program, graph, member(signature, "output_specs"));
  readTrees(program, graphModule);
  return program;
}

InnerGraph readInnerGraph(ExportedProgram& program, const Json& graph, const std::vector<ValueId>& operands) {
  const auto names = std::make_shared<ValueNames>();
  std::size_t operand = 0;
  for (const Json& input : arrayOf(member(graph, "inputs"), "inputs")) {
    for (const std::string& name : namesIn(input)) {
      if (operand == operands.size()) throwDamaged("a branch takes more than it is given");
      (*names)[name] = operands[operand++];
    }
  }
  InnerGraph inner;
  inner.names = names;
  GraphReader(program, /*countUses=*/false).readOperations(graph, names, inner.operations);
  for (const Json& output : arrayOf(member(graph, "outputs"), "outputs")) inner.outputs.push_back(&output);
  return inner;
}

}  // namespace gradcam
