#include "core/exported/call_tree.h"

#include <map>

namespace gradcam {
namespace {

class CallTreeBuilder {
 public:
  explicit CallTreeBuilder(const std::vector<Operation>& operations) : operations_(operations) {
    for (std::size_t index = 0; index < operations.size(); ++index) {
      for (const ModuleCall& call : operations[index].calls) lastOf_[call.key] = static_cast<int>(index);
    }
  }

  CallTree build() {
    CallTree root;
    root.method = "forward";
    open_ = {{&root, ""}};
    for (std::size_t index = 0; index < operations_.size(); ++index) add(static_cast<int>(index));
    root.last = static_cast<int>(operations_.size()) - 1;
    nameMethods(root);
    return root;
  }

 private:
  struct Open {
    CallTree* call;
    std::string key;
  };

  bool isFinished(const Open& call, int operation) const { return lastOf_.at(call.key) < operation; }

  void add(int operation) {
    const auto& calls = operations_[static_cast<std::size_t>(operation)].calls;
    std::size_t depth = 1;
    while (depth < open_.size() && depth <= calls.size() && open_[depth].key == calls[depth - 1].key) ++depth;
    // What runs inside of no further call may be between the operations of one that goes on.
    if (depth > calls.size()) {
      while (depth < open_.size() && !isFinished(open_[depth], operation)) ++depth;
    }
    open_.resize(depth);
    for (std::size_t inner = depth; inner <= calls.size(); ++inner) {
      const ModuleCall& call = calls[inner - 1];
      auto child = std::make_unique<CallTree>();
      child->path = call.path;
      child->type = call.type;
      child->first = operation;
      keyOf_[child.get()] = call.key;
      ++partsOf_[call.key];
      CallTree* opened = child.get();
      open_.back().call->items.emplace_back(std::move(child));
      open_.push_back({opened, call.key});
    }
    for (const Open& call : open_) call.call->last = operation;
    open_.back().call->items.emplace_back(operation);
  }

  void nameMethods(CallTree& call) {
    for (CallTree::Item& item : call.items) {
      auto* child = std::get_if<std::unique_ptr<CallTree>>(&item);
      if (child == nullptr) continue;
      const bool whole = partsOf_.at(keyOf_.at(child->get())) == 1;
      int& count = (whole ? callsOf_ : brokenCallsOf_)[(*child)->path];
      (*child)->method = whole ? "forward" : "part";
      if (count > 0) (*child)->method += std::to_string(count);
      ++count;
      nameMethods(**child);
    }
  }

  const std::vector<Operation>& operations_;
  std::map<std::string, int> lastOf_;
  std::vector<Open> open_;
  std::map<const CallTree*, std::string> keyOf_;
  std::map<std::string, int> partsOf_, callsOf_, brokenCallsOf_;
};

}  // namespace

CallTree callTreeOf(const std::vector<Operation>& operations) {
  return CallTreeBuilder(operations).build();
}

}  // namespace gradcam
