#pragma once

#include <deque>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/exported/json_reading.h"
#include "core/exported/value_tree.h"

namespace gradcam {

// A value of a program, by number.
using ValueId = int;
// The values of one graph by their names there.
using ValueNames = std::unordered_map<std::string, ValueId>;

// The call of a module that an operation is part of. Calls of one module have different keys.
struct ModuleCall {
  std::string key, path, type;
};

struct Operation {
  const Json* node = nullptr;
  std::shared_ptr<const ValueNames> names;  // of the graph in which it is written
  std::vector<ModuleCall> calls;            // outermost first; the model's own is left out
};

struct ProgramValue {
  c10::TypePtr type;
  std::string stored;  // the name of the parameter, buffer or constant that it is; else empty
  bool isParameter = false;
  int lastUse = -1;  // the last operation that takes it, or kGiven
};
// Of what the program gives.
inline constexpr int kGiven = std::numeric_limits<int>::max();

// One of the values that a program is called with.
struct ProgramInput {
  ValueId value;
  std::string name;
  std::vector<std::optional<int64_t>> sizes;  // of a tensor; none for an axis that takes any size
};

// The operations of a program in their order, in one list: graphs that only switch gradients off are written
// out. All that it names is there: names of values, as often as they have to be, trees with as many leaves as
// there are values.
struct ExportedProgram {
  std::vector<ProgramValue> values;
  std::vector<Operation> operations;
  ValueTree inputTree;  // of a tuple, what is given in order, and a dictionary, what is given by name
  std::vector<ProgramInput> inputs;  // its leaves
  std::vector<std::string> parameterNames;
  std::vector<std::string> modulePaths;  // in the order of their registration
  ValueTree outputTree;
  std::vector<const Json*> outputs;  // its leaves
  std::shared_ptr<const ValueNames> names;
  std::deque<Json> written;  // operations that are not in the file
};

// `json` must stay.
ExportedProgram readProgram(const Json& json);

// The operations of a graph inside of an operation, such as a branch, run on these values.
struct InnerGraph {
  std::vector<Operation> operations;
  std::vector<const Json*> outputs;
  std::shared_ptr<const ValueNames> names;
};
InnerGraph readInnerGraph(ExportedProgram& program, const Json& graph, const std::vector<ValueId>& operands);

ValueId valueNamed(const ValueNames& names, const std::string& name);
// The names of values in an argument or a result.
std::vector<std::string> namesIn(const Json& argument);

}  // namespace gradcam
