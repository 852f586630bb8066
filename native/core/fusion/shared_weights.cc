#include "core/fusion/shared_weights.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "core/fusion/fused_activation.h"
#include "core/script/graph_walk.h"

namespace gradcam {
namespace {

constexpr std::size_t kOrdersKept = 4;
constexpr std::size_t kRunsKept = 64;  // a few numbers each
// Smaller constants are not worth comparing.
constexpr std::size_t kSmallestShared = 4096;

std::size_t bytesOf(const at::Tensor& packed) {
  static const auto bytes = findTorchOperator("mkldnn::_nbytes")->typed<int64_t(const at::Tensor&)>();
  return static_cast<std::size_t>(bytes.call(packed));
}

bool sameBits(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() && a.strides() == b.strides() &&
         std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0;
}

bool sameScale(const std::optional<at::Tensor>& a, const std::optional<at::Tensor>& b) {
  return a.has_value() == b.has_value() && (!a || sameBits(*a, *b));
}

// Nobody holds them any more.
template <typename Known>
void forgetGone(Known& all) {
  for (auto entry = all.begin(); entry != all.end();) {
    auto& packed = entry->second.packed;
    packed.erase(
        std::remove_if(packed.begin(), packed.end(), [](const auto& each) { return each.expired(); }),
        packed.end());
    entry = packed.empty() ? all.erase(entry) : std::next(entry);
  }
}

}  // namespace

PackedConvolution::PackedConvolution(at::Tensor weight,
                                     std::optional<at::Tensor> scale,
                                     Shape shape,
                                     PackedBytes bytes)
    : weight_(std::move(weight)),
      scale_(std::move(scale)),
      shape_(std::move(shape)),
      bytes_(std::move(bytes)) {}

PackedConvolution::~PackedConvolution() {
  for (const auto& each : packed_) *bytes_ -= bytesOf(each->weight);
}

bool PackedConvolution::isOf(const std::optional<at::Tensor>& scale, const Shape& shape) const {
  return shape_ == shape && sameScale(scale_, scale);
}

at::Tensor PackedConvolution::plain() const {
  std::vector<int64_t> ofRows(static_cast<std::size_t>(weight_.dim()), 1);
  ofRows[0] = -1;
  return (scale_ ? weight_ * scale_->view(ofRows) : weight_).to(shape_.type);
}

at::Tensor PackedConvolution::weightFor(const at::Tensor& input, const std::vector<int64_t>& outputPadding) {
  const Run run = {input.size(0), input.sizes().slice(2).vec(), at::get_num_threads()};
  // Held while packing: who comes meanwhile would pack the same, and waits no longer than that takes.
  const std::lock_guard lock(mutex_);
  const bool sizeIsNew =
      std::none_of(seen_.begin(), seen_.end(), [&](const Seen& each) { return each.run.space == run.space; });
  const auto found =
      std::find_if(seen_.begin(), seen_.end(), [&](const Seen& each) { return each.run == run; });
  if (found == seen_.end()) {
    seen_.push_front({run, {}});
    if (seen_.size() > kRunsKept) seen_.pop_back();
  } else {
    seen_.splice(seen_.begin(), seen_, found);
  }
  if (sizeIsNew) return plain();
  std::shared_ptr<const Packed> packed = seen_.front().packed.lock();
  if (!packed) seen_.front().packed = packed = pack(input, outputPadding);
  packed_.splice(packed_.begin(), packed_, std::find(packed_.begin(), packed_.end(), packed));
  return packed->weight;
}

// One of those that are there, if they have the order that the input asks for.
std::shared_ptr<const PackedConvolution::Packed> PackedConvolution::pack(
    const at::Tensor& input, const std::vector<int64_t>& outputPadding) {
  const auto& [stride, padding, dilation, groups, transposed, type] = shape_;
  static const auto describeOrder = *findTorchOperator("mkldnn::_get_mkldnn_serialized_md");
  at::Tensor weight;
  if (transposed) {
    static const auto reorder = *findTorchOperator("mkldnn::_reorder_convolution_transpose_weight");
    weight = callTorchOperator(reorder,
                               {plain(), padding, outputPadding, stride, dilation, groups, input.sizes()});
  } else {
    static const auto reorder = *findTorchOperator("mkldnn::_reorder_convolution_weight");
    weight = callTorchOperator(reorder, {plain(), padding, stride, dilation, groups, input.sizes()});
  }
  const at::Tensor order = callTorchOperator(describeOrder, {weight});
  for (const auto& each : packed_) {
    if (each->order.equal(order)) return each;
  }
  packed_.push_front(std::make_shared<const Packed>(Packed{weight, order}));
  *bytes_ += bytesOf(weight);
  if (packed_.size() > kOrdersKept) {
    *bytes_ -= bytesOf(packed_.back()->weight);
    packed_.pop_back();
  }
  return packed_.front();
}

PackedLinear::PackedLinear(at::Tensor weight,
                           std::optional<at::Tensor> scale,
                           at::ScalarType type,
                           PackedBytes bytes)
    : scale_(std::move(scale)), type_(type), bytes_(std::move(bytes)), weight_(std::move(weight)) {}

PackedLinear::~PackedLinear() {
  if (weight_.is_mkldnn()) *bytes_ -= bytesOf(weight_);
}

at::Tensor PackedLinear::packed() {
  static const auto reorder = *findTorchOperator("mkldnn::_reorder_linear_weight");
  const std::lock_guard lock(mutex_);
  if (!weight_.is_mkldnn()) {
    weight_ = callTorchOperator(reorder, {scaled().to(type_).contiguous(), c10::IValue()});
    *bytes_ += bytesOf(weight_);
  }
  return weight_;
}

bool PackedLinear::isOf(const std::optional<at::Tensor>& scale, at::ScalarType type) const {
  return type_ == type && sameScale(scale_, scale);
}

// Of the weight as it was given.
at::Tensor PackedLinear::scaled() const {
  return scale_ ? weight_ * scale_->unsqueeze(1) : weight_;
}

at::Tensor PackedLinear::plain() {
  const std::lock_guard lock(mutex_);
  return weight_.is_mkldnn() ? weight_.to_dense().to(at::kFloat) : scaled();
}

SharedWeights::SharedWeights(const torch::jit::Module& model, at::ScalarType type) : type_(type) {
  const auto remember = [this](const auto& tensors) {
    for (const at::Tensor& tensor : tensors) {
      if (tensor.has_storage()) ofModel_.insert(tensor.storage().unsafeGetStorageImpl());
    }
  };
  remember(model.parameters());
  remember(model.buffers());
}

SharedWeights::Place SharedWeights::placeOf(const at::Tensor& tensor) {
  return {tensor.storage().unsafeGetStorageImpl(), tensor.storage_offset(), tensor.sizes().vec(),
          tensor.strides().vec()};
}

template <typename Packed>
std::vector<std::weak_ptr<Packed>>& SharedWeights::knownOf(std::map<Place, Known<Packed>>& all,
                                                           const at::Tensor& tensor) {
  const Place place = placeOf(tensor);
  const auto found = all.find(place);
  if (found != all.end()) return found->second.packed;
  forgetGone(all);
  return all.emplace(place, Known<Packed>{tensor.storage().getWeakStorageImpl(), {}}).first->second.packed;
}

std::shared_ptr<PackedConvolution> SharedWeights::convolution(const at::Tensor& weight,
                                                              const std::optional<at::Tensor>& scale,
                                                              const PackedConvolution::Shape& shape) {
  const std::lock_guard lock(mutex_);
  auto& known = knownOf(convolutions_, weight);
  for (const auto& each : known) {
    if (auto packed = each.lock(); packed && packed->isOf(scale, shape)) return packed;
  }
  auto packed = std::make_shared<PackedConvolution>(weight, scale, shape, packedBytes_);
  known.push_back(packed);
  return packed;
}

std::shared_ptr<PackedLinear> SharedWeights::linear(const at::Tensor& weight,
                                                    const std::optional<at::Tensor>& scale,
                                                    at::ScalarType type) {
  const std::lock_guard lock(mutex_);
  auto& known = knownOf(linears_, weight);
  for (const auto& each : known) {
    if (auto packed = each.lock(); packed && packed->isOf(scale, type)) return packed;
  }
  auto packed = std::make_shared<PackedLinear>(weight, scale, type, packedBytes_);
  known.push_back(packed);
  return packed;
}

at::Tensor SharedWeights::shared(const at::Tensor& constant) {
  const std::string_view bits(static_cast<const char*>(constant.const_data_ptr()), constant.nbytes());
  const std::size_t hash = std::hash<std::string_view>()(bits);
  const std::lock_guard lock(mutex_);
  auto [entry, end] = constants_.equal_range(hash);
  while (entry != end) {
    const auto known = entry->second.lock();
    if (!known) {
      entry = constants_.erase(entry);
      continue;
    }
    const at::Tensor tensor(known);
    if (sameBits(tensor, constant)) return tensor;
    ++entry;
  }
  constants_.emplace(hash, WeakTensor(constant.getIntrusivePtr()));
  return constant;
}

void SharedWeights::shareConstants(torch::jit::Graph& graph) {
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(constants_, [](const auto& entry) { return entry.second.expired(); });
  }
  forEachNode(graph.block(), [this](torch::jit::Node* node) {
    const bool isTensor = node->kind() == c10::prim::Constant && node->hasAttribute(c10::attr::value) &&
                          node->kindOf(c10::attr::value) == torch::jit::AttributeKind::t;
    if (!isTensor) return;
    const at::Tensor constant = node->t(c10::attr::value);
    const bool comparable = constant.defined() && constant.is_cpu() && constant.layout() == at::kStrided &&
                            !constant.is_quantized() && !constant.is_complex() && !constant.is_neg() &&
                            constant.is_contiguous() && constant.has_storage() &&
                            constant.nbytes() >= kSmallestShared;
    if (comparable && ofModel_.count(constant.storage().unsafeGetStorageImpl()) == 0)
      node->t_(c10::attr::value, shared(constant));
  });
}

}  // namespace gradcam
