#include "api/output_tree.h"

#include <algorithm>
#include <sstream>

#include "api/failure.h"
#include "core/values/output_tree.h"
#include "core/values/tensor_state.h"
#include "core/values/tensor_types.h"

namespace gradcam {
namespace {

// Tuples, named tuples and lists alike.
std::optional<std::vector<c10::IValue>> asSequence(const c10::IValue& value) {
  if (value.isTuple()) return value.toTupleRef().elements().vec();
  if (value.isList()) return value.toListRef().vec();
  return std::nullopt;
}

// The names of a named tuple's fields, in order; none for other values.
std::vector<std::string> fieldsOf(const c10::IValue& value) {
  std::vector<std::string> names;
  if (!value.isTuple()) return names;
  const auto type = value.toTupleRef().type();
  if (!type->schema()) return names;
  for (const c10::Argument& field : type->schema()->arguments()) names.push_back(field.name());
  return names;
}

std::vector<std::string> choicesOf(const c10::IValue& value) {
  std::vector<std::string> choices;
  for (const std::string& name : fieldsOf(value)) choices.push_back("'" + name + "'");
  if (const auto sequence = asSequence(value)) {
    for (std::size_t index = 0; index < sequence->size(); ++index) choices.push_back(std::to_string(index));
  } else if (value.isGenericDict()) {
    for (const auto& entry : value.toGenericDict()) {
      if (entry.key().isString()) choices.push_back("'" + entry.key().toStringRef() + "'");
    }
  }
  return choices;
}

[[noreturn]] void throwSelector(const std::string& problem, const c10::IValue& at) {
  const auto choices = choicesOf(at);
  const std::string help = choices.empty() ? "" : " Choose with `output`: one of " + joined(choices) + ".";
  throw Failure("ERR_OUTPUT_SELECTOR", problem + help).withAvailable(choices);
}

using Key = std::variant<int64_t, std::string>;

// A key's position in a tuple or list; none where there is none.
std::optional<std::size_t> positionOf(const c10::IValue& value, const Key& key) {
  if (const auto* name = std::get_if<std::string>(&key)) {
    const auto fields = fieldsOf(value);
    const auto field = std::find(fields.begin(), fields.end(), *name);
    if (field == fields.end()) return std::nullopt;
    return static_cast<std::size_t>(field - fields.begin());
  }
  const int64_t index = std::get<int64_t>(key);
  const auto sequence = asSequence(value);
  if (!sequence || index < 0 || index >= static_cast<int64_t>(sequence->size())) return std::nullopt;
  return static_cast<std::size_t>(index);
}

bool isEntry(const c10::IValue& key, const Key& wanted) {
  const auto* name = std::get_if<std::string>(&wanted);
  return name != nullptr && key.isString() && key.toStringRef() == *name;
}

std::optional<c10::IValue> entryOf(const c10::IValue& value, const Key& key) {
  if (value.isGenericDict()) {
    for (const auto& entry : value.toGenericDict()) {
      if (isEntry(entry.key(), key)) return entry.value();
    }
  }
  if (const auto position = positionOf(value, key)) return (*asSequence(value))[*position];
  return std::nullopt;
}

c10::IValue step(const c10::IValue& value, const Key& key) {
  if (auto entry = entryOf(value, key)) return std::move(*entry);
  const auto* name = std::get_if<std::string>(&key);
  throwSelector("The model's output has no " +
                    (name ? "entry '" + *name + "'" : "position " + std::to_string(std::get<int64_t>(key))) +
                    ": it is " + value.tagKind() + ".",
                value);
}

void collectTensors(const c10::IValue& value, const OutputSelector& path, std::vector<TensorAt>& found) {
  const auto into = [&](Key key, const c10::IValue& inner) {
    OutputSelector longer = path;
    longer.push_back(std::move(key));
    collectTensors(inner, longer, found);
  };
  if (isOneTensor(value)) {
    found.push_back({path, value.toTensor()});
  } else if (value.isGenericDict()) {
    for (const auto& entry : value.toGenericDict()) {
      if (entry.key().isString()) into(entry.key().toStringRef(), entry.value());
    }
  } else if (const auto sequence = asSequence(value)) {
    const auto fields = fieldsOf(value);
    for (std::size_t index = 0; index < sequence->size(); ++index)
      into(fields.empty() ? Key(static_cast<int64_t>(index)) : Key(fields[index]), (*sequence)[index]);
  }
}

bool holdsHalfPrecision(const c10::IValue& value) {
  if (value.isTensor()) return at::isReducedFloatingType(value.toTensor().scalar_type());
  if (const auto sequence = asSequence(value))
    return std::any_of(sequence->begin(), sequence->end(), holdsHalfPrecision);
  if (!value.isGenericDict()) return false;
  const auto dict = value.toGenericDict();
  return std::any_of(dict.begin(), dict.end(),
                     [](const auto& entry) { return holdsHalfPrecision(entry.value()); });
}

c10::IValue inFullPrecision(const c10::IValue& value) {
  if (!holdsHalfPrecision(value)) return value;
  if (value.isTensor()) return value.toTensor().to(at::kFloat);
  if (value.isTuple()) {
    std::vector<c10::IValue> elements;
    for (const c10::IValue& element : value.toTupleRef().elements())
      elements.push_back(inFullPrecision(element));
    return c10::ivalue::Tuple::create(std::move(elements));
  }
  if (value.isList()) {
    c10::impl::GenericList list(value.toList().elementType());
    for (const c10::IValue& element : value.toListRef()) list.push_back(inFullPrecision(element));
    return list;
  }
  const auto old = value.toGenericDict();
  c10::impl::GenericDict dict(old.keyType(), old.valueType());
  for (const auto& entry : old) dict.insert(entry.key(), inFullPrecision(entry.value()));
  return dict;
}

}  // namespace

OutputTree toOutputTree(const c10::IValue& output) {
  if (output.isTensor()) return {toHandle(output.toTensor().detach().to(at::kCPU))};
  if (output.isDouble() || output.isInt()) return {output.toScalar().toDouble()};
  if (output.isBool()) return {output.toBool()};
  if (output.isString()) return {output.toStringRef()};
  if (const auto sequence = asSequence(output)) {
    OutputTree::List list;
    for (const c10::IValue& element : *sequence) list.push_back(toOutputTree(element));
    return {std::move(list)};
  }
  if (output.isGenericDict()) {
    OutputTree::Dict dict;
    for (const auto& entry : output.toGenericDict()) {
      const c10::IValue& key = entry.key();
      const std::string name = key.isString() ? key.toStringRef() : std::to_string(key.toScalar().toLong());
      dict.emplace_back(name, toOutputTree(entry.value()));
    }
    return {std::move(dict)};
  }
  return {};
}

std::string describeSelector(const OutputSelector& selector) {
  std::string text;
  for (const auto& key : selector) {
    const auto* name = std::get_if<std::string>(&key);
    text += (text.empty() ? "" : ", ") + (name ? "'" + *name + "'" : std::to_string(std::get<int64_t>(key)));
  }
  return selector.size() > 1 ? "[" + text + "]" : text;
}

std::optional<c10::IValue> valueAt(const c10::IValue& output, const OutputSelector& selector) {
  c10::IValue value = output;
  for (const auto& key : selector) {
    auto entry = entryOf(value, key);
    if (!entry) return std::nullopt;
    value = std::move(*entry);
  }
  return value;
}

c10::IValue withValueAt(const c10::IValue& output, const OutputSelector& selector, const c10::IValue& value) {
  if (selector.empty()) return value;
  const Key& key = selector.front();
  const auto changed = [&](const c10::IValue& old) {
    return withValueAt(old, {selector.begin() + 1, selector.end()}, value);
  };
  if (output.isGenericDict()) {
    const auto old = output.toGenericDict();
    c10::impl::GenericDict dict(old.keyType(), old.valueType());
    for (const auto& entry : old)
      dict.insert(entry.key(), isEntry(entry.key(), key) ? changed(entry.value()) : entry.value());
    return dict;
  }
  auto elements = *asSequence(output);
  c10::IValue& chosen = elements.at(*positionOf(output, key));
  chosen = changed(chosen);
  if (output.isTuple())  // of its type, for the names of its fields
    return c10::ivalue::Tuple::createNamed(std::move(elements), output.toTupleRef().type());
  c10::impl::GenericList list(output.toList().elementType());
  for (c10::IValue& element : elements) list.push_back(std::move(element));
  return list;
}

std::vector<TensorAt> tensorsIn(const c10::IValue& value) {
  std::vector<TensorAt> found;
  collectTensors(value, {}, found);
  return found;
}

std::string describeTensors(const std::vector<TensorAt>& tensors) {
  std::ostringstream text;
  for (const auto& [selector, tensor] : tensors)
    text << (text.tellp() > 0 ? ", " : "") << describeSelector(selector) << ": " << tensor.sizes();
  return text.str();
}

c10::IValue selectValue(const c10::IValue& output, const OutputSelector& selector) {
  c10::IValue value = output;
  for (const auto& key : selector) value = step(value, key);
  const at::AutoGradMode record(true);
  return inFullPrecision(value);
}

at::Tensor selectOutput(const c10::IValue& output, const OutputSelector& selector) {
  const c10::IValue value = selectValue(output, selector);
  if (!value.isTensor()) {
    const std::string hint =
        value.isList() ? " Detections are explained by a FasterRCNNBoxScoreTarget instead of a class." : "";
    throwSelector(
        "The model's output is a " + value.tagKind() + ", and one tensor of it must be explained." + hint,
        value);
  }
  return value.toTensor();
}

}  // namespace gradcam
