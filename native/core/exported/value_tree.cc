#include "core/exported/value_tree.h"

#include <algorithm>

#include "api/failure.h"

namespace gradcam {
namespace {

using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

// The keys of a dictionary, or of a class that is flattened as one, as Hugging Face's outputs are.
std::vector<std::string> keysOf(const Json& context, std::size_t count) {
  if (!context.is_array() || context.size() != count) return {};
  std::vector<std::string> keys;
  for (const Json& key : context) {
    if (!key.is_string()) return {};
    keys.push_back(key.get<std::string>());
  }
  return keys;
}

ValueTree treeOf(const Json& spec) {
  ValueTree tree;
  const Json& type = member(spec, "type");
  if (type.is_null()) return tree;
  const std::string name = textOf(type, "a tree's type");
  for (const Json& child : arrayOf(member(spec, "children_spec"), "children_spec"))
    tree.children.push_back(treeOf(child));
  if (name == "builtins.tuple" || name == "collections.namedtuple") {
    tree.kind = ValueTree::Kind::Tuple;
    return tree;
  }
  if (name == "builtins.list" || name == "collections.deque") {
    tree.kind = ValueTree::Kind::List;
    return tree;
  }
  const Json& written = member(spec, "context");
  const Json context = written.is_string()
                           ? parseJson(written.get_ref<const std::string&>().data(),
                                       written.get_ref<const std::string&>().size(), "the context of a tree")
                           : written;
  tree.kind = ValueTree::Kind::Dictionary;
  tree.keys = keysOf(context, tree.children.size());
  if (tree.keys.size() == tree.children.size()) return tree;
  throw Failure("ERR_UNSUPPORTED",
                "The program takes or gives values in a '" + name +
                    "', which is neither a tuple, a list nor a dictionary with texts as keys. Let forward "
                    "take and give one of these.");
}

c10::TypePtr containerType(const ValueTree& tree, const std::vector<c10::TypePtr>& types) {
  const bool alike = !types.empty() && std::all_of(types.begin(), types.end(),
                                                   [&](const auto& type) { return *type == *types.front(); });
  if (tree.kind == ValueTree::Kind::List && alike) return c10::ListType::create(types.front());
  if (tree.kind == ValueTree::Kind::Dictionary)
    return c10::DictType::create(c10::StringType::get(), alike ? types.front() : c10::AnyType::get());
  return c10::TupleType::create(types);
}

Value* pack(Graph& graph, const ValueTree& tree, const std::vector<Value*>& leaves, std::size_t& at) {
  if (tree.kind == ValueTree::Kind::Leaf) return leaves.at(at++);
  std::vector<Value*> values;
  std::vector<c10::TypePtr> types;
  for (const ValueTree& child : tree.children) {
    values.push_back(pack(graph, child, leaves, at));
    types.push_back(values.back()->type());
  }
  const c10::TypePtr type = containerType(tree, types);
  if (const auto list = type->cast<c10::ListType>())
    return graph.insertNode(graph.createList(list->getElementType(), values))->output();
  if (const auto dictionary = type->cast<c10::DictType>()) {
    std::vector<Value*> keys;
    for (const std::string& key : tree.keys) keys.push_back(graph.insertConstant(key));
    return graph
        .insertNode(graph.createDict(dictionary->getKeyType(), dictionary->getValueType(), keys, values))
        ->output();
  }
  return graph.insertNode(graph.createTuple(values))->output();
}

}  // namespace

ValueTree ValueTree::of(const std::string& text) {
  const Json spec = parseJson(text.data(), text.size(), "a tree of values");
  // [version, tree]
  if (!spec.is_array() || spec.size() != 2 || spec[0] != 1)
    throwDamaged("a tree of values is not of the version that is read");
  return treeOf(spec[1]);
}

std::size_t ValueTree::leaves() const {
  if (kind == Kind::Leaf) return 1;
  std::size_t count = 0;
  for (const ValueTree& child : children) count += child.leaves();
  return count;
}

Value* packValues(Graph& graph, const ValueTree& tree, const std::vector<Value*>& leaves) {
  std::size_t at = 0;
  return pack(graph, tree, leaves, at);
}

}  // namespace gradcam
