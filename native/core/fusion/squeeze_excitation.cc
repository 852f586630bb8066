#include "core/fusion/squeeze_excitation.h"

#include <algorithm>
#include <unordered_map>

#include "core/fusion/channel_loops.h"
#include "core/process/parallel_loop.h"
#include "core/script/graph_walk.h"
#include "core/script/operator_arguments.h"
#include "core/script/own_operators.h"

namespace gradcam {
namespace {

using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

void runSqueezeExcitation(torch::jit::Stack& stack) {
  const at::Tensor x = torch::jit::pop(stack).toTensor();
  const auto block =
      c10::static_intrusive_pointer_cast<SqueezeExcitation>(torch::jit::pop(stack).toCapsule());
  torch::jit::push(stack, block->run(x));
}

const c10::Symbol& squeezeExcitationSymbol() {
  static const c10::Symbol symbol =
      registerOperator("squeeze_excitation(Any block, Tensor x) -> Tensor", runSqueezeExcitation);
  return symbol;
}

bool isListOf(const Node* node, const char* argument, std::initializer_list<std::vector<int64_t>> lists) {
  const auto value = constantInput(node, argument);
  return value && value->isIntList() &&
         std::find(lists.begin(), lists.end(), value->toIntVector()) != lists.end();
}

// The mean of each channel over all places, which stay as axes of one.
bool isGlobalMean(const Node* node) {
  if (node->matches("aten::adaptive_avg_pool2d(Tensor self, int[2] output_size) -> Tensor"))
    return isListOf(node, "output_size", {{1}, {1, 1}});
  return node->matches(
             "aten::mean.dim(Tensor self, int[1]? dim, bool keepdim=False, *, ScalarType? dtype=None) -> "
             "Tensor") &&
         isListOf(node, "dim", {{2, 3}, {3, 2}, {-2, -1}, {-1, -2}}) &&
         constantInput(node, "keepdim") == c10::IValue(true) && constantInput(node, "dtype") == c10::IValue();
}

// [N, C], of [N, C, H, W] that lies channels-last.
at::Tensor meanOfChannels(const at::Tensor& x) {
  const int64_t channels = x.size(1), width = x.size(3), places = x.size(2) * width;
  at::Tensor mean = at::empty({x.size(0), channels}, x.options().memory_format(at::MemoryFormat::Contiguous));
  const auto* from = x.const_data_ptr<float>();
  auto* to = mean.mutable_data_ptr<float>();
  parallelLoop(x.size(0), places * channels, [&](int64_t begin, int64_t end) {
    for (int64_t image = begin; image < end; ++image)
      sumOfRows(from + image * places * channels, places, width, channels, to + image * channels);
  });
  return mean.div_(static_cast<double>(places));
}

class BlockFinder {
 public:
  BlockFinder(const Graph& graph, const std::vector<c10::IValue>& capsules) {
    const std::size_t firstCapsule = graph.inputs().size() - capsules.size();
    for (std::size_t index = 0; index < capsules.size(); ++index)
      capsules_[graph.inputs()[firstCapsule + index]] = capsules[index];
  }

  struct Block {
    std::vector<Node*> nodes;  // in order
    Value* x = nullptr;
    SqueezeExcitation::Convolution squeeze, expand;
  };

  std::optional<Block> find(Node* mean) const {
    if (!isGlobalMean(mean)) return std::nullopt;
    Block block;
    block.x = mean->input(0);
    Node* squeeze = onlyUser(mean);
    block.squeeze = pointwise(squeeze);
    if (!block.squeeze) return std::nullopt;
    Node* expand = onlyUser(squeeze);
    block.expand = pointwise(expand);
    if (!block.expand) return std::nullopt;
    Node* scaled = onlyUser(expand);
    if (scaled == nullptr || !scaled->matches("aten::mul.Tensor(Tensor self, Tensor other) -> Tensor"))
      return std::nullopt;
    const Value* other = scaled->input(0) == expand->output() ? scaled->input(1) : scaled->input(0);
    if (other != block.x) return std::nullopt;
    block.nodes = {mean, squeeze, expand, scaled};
    return block;
  }

 private:
  static Node* onlyUser(const Node* node) {
    const auto& uses = node->output()->uses();
    return uses.size() == 1 && uses[0].user->owningBlock() == node->owningBlock() ? uses[0].user : nullptr;
  }

  SqueezeExcitation::Convolution pointwise(const Node* node) const {
    if (node == nullptr || node->kind() != fusedConvolutionSymbol()) return {};
    if (torch::jit::toIValue(node->input(2)) != c10::IValue()) return {};  // an addition
    const auto found = capsules_.find(node->input(0));
    if (found == capsules_.end()) return {};
    auto convolution = c10::static_intrusive_pointer_cast<FusedConvolution>(found->second.toCapsule());
    return convolution->isPointwise() ? SqueezeExcitation::Convolution(std::move(convolution)) : nullptr;
  }

  std::unordered_map<const Value*, c10::IValue> capsules_;
};

}  // namespace

SqueezeExcitation::Layer::Layer(Convolution of, SharedWeights& weights) : convolution(std::move(of)) {
  const at::Tensor weight = convolution->foldedWeight().to(at::kFloat);
  matrix = weights.shared(weight.reshape({weight.size(0), weight.size(1)}).t().contiguous());
  const auto addend = convolution->foldedBias();
  bias = addend ? addend->to(at::kFloat).contiguous() : at::zeros({weight.size(0)});
}

at::Tensor SqueezeExcitation::Layer::run(const at::Tensor& rows) const {
  const int64_t inputs = matrix.size(0), outputs = matrix.size(1);
  at::Tensor result = bias.expand({rows.size(0), outputs}).clone(at::MemoryFormat::Contiguous);
  const auto *from = rows.const_data_ptr<float>(), *factors = matrix.const_data_ptr<float>();
  auto* to = result.mutable_data_ptr<float>();
  parallelLoop(rows.size(0), inputs * outputs, [&](int64_t begin, int64_t end) {
    for (int64_t input = 0; input < inputs; ++input) {  // the matrix is read once, for all rows of a thread
      for (int64_t row = begin; row < end; ++row)
        addScaledRow(factors + input * outputs, from[row * inputs + input], outputs, to + row * outputs);
    }
  });
  return convolution->activation().applyInPlace(std::move(result));
}

SqueezeExcitation::SqueezeExcitation(Convolution squeeze,
                                     Convolution expand,
                                     bool ownsInput,
                                     SharedWeights& weights)
    : squeeze_(std::move(squeeze), weights), expand_(std::move(expand), weights), ownsInput_(ownsInput) {}

bool SqueezeExcitation::canRun(const at::Tensor& x) const {
  return x.is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16) && x.dim() == 4 &&
         x.numel() > 0 && x.size(1) == squeeze_.matrix.size(0) && x.size(1) == expand_.matrix.size(1) &&
         x.is_contiguous(at::MemoryFormat::ChannelsLast);
}

at::Tensor SqueezeExcitation::run(const at::Tensor& x) const {
  if (!canRun(x)) {
    const at::Tensor mean = x.mean(at::IntArrayRef{2, 3}, /*keepdim=*/true);
    return x * expand_.convolution->run(squeeze_.convolution->run(mean, std::nullopt), std::nullopt);
  }
  if (x.scalar_type() == at::kBFloat16) {
    const at::Tensor mean = x.mean(at::IntArrayRef{2, 3}, /*keepdim=*/false, at::kFloat);
    const at::Tensor factors =
        expand_.run(squeeze_.run(mean)).to(at::kBFloat16).view({x.size(0), x.size(1), 1, 1});
    return ownsInput_ ? at::Tensor(x).mul_(factors) : x * factors;
  }
  const at::Tensor gate = expand_.run(squeeze_.run(meanOfChannels(x)));
  at::Tensor scaled = ownsInput_ ? x : at::empty_like(x);
  const int64_t channels = x.size(1), places = x.size(2) * x.size(3);
  const auto *from = x.const_data_ptr<float>(), *factors = gate.const_data_ptr<float>();
  auto* to = scaled.mutable_data_ptr<float>();
  parallelLoop(x.size(0), places * channels, [&](int64_t begin, int64_t end) {
    for (int64_t image = begin; image < end; ++image) {
      const int64_t first = image * places * channels;
      scaleChannels(from + first, places, channels, factors + image * channels, to + first);
    }
  });
  return scaled;
}

void fuseSqueezeExcitations(Graph& graph, std::vector<c10::IValue>& capsules, SharedWeights& weights) {
  std::vector<BlockFinder::Block> blocks;
  {
    const BlockFinder finder(graph, capsules);
    forEachNode(graph.block(), [&](Node* node) {
      if (auto block = finder.find(node)) blocks.push_back(std::move(*block));
    });
  }
  for (const auto& [nodes, x, squeeze, expand] : blocks) {
    Node* scaled = nodes.back();
    // Then its memory can take the result: only the mean reads it, too, and both once, as in a loop they
    // would not.
    const bool ownsInput = x->node()->kind() == fusedConvolutionSymbol() && x->uses().size() == 2 &&
                           x->node()->owningBlock() == scaled->owningBlock();
    auto block = c10::make_intrusive<SqueezeExcitation>(squeeze, expand, ownsInput, weights);
    Value* handle = graph.addInput("squeeze_excitation");
    handle->setType(c10::CapsuleType::get());
    capsules.push_back(c10::IValue::make_capsule(std::move(block)));
    const torch::jit::WithInsertPoint here(scaled);
    Node* fused = graph.insertNode(graph.create(squeezeExcitationSymbol(), {handle, x}, 1));
    scaled->output()->replaceAllUsesWith(fused->output());
    for (auto node = nodes.rbegin(); node != nodes.rend(); ++node) (*node)->destroy();
  }
}

}  // namespace gradcam
