#pragma once

#include <atomic>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "core/process/torch.h"

namespace gradcam {

// Bytes of packed weights, as long as anything holds them.
using PackedBytes = std::shared_ptr<std::atomic<std::size_t>>;

// One convolution's weight, times a BatchNorm's scale, for oneDNN, which wants it in an order of its own that
// depends on the size of the images, on their number and on the threads: from the second run with a size on
// it is kept in that order. Most numbers of images want the same order, and share it; the few orders used
// last stay. Several threads may ask.
class PackedConvolution {
 public:
  struct Shape {
    std::vector<int64_t> stride, padding, dilation;
    int64_t groups;
    bool transposed = false;  // runs on gradients of the convolution's result, and gives those of its input
    at::ScalarType type = at::kFloat;  // of its arithmetic, or bfloat16
    bool operator==(const Shape&) const = default;
  };

  // `weight` is float32 on the CPU, [out, in / groups, ...space], with 2 or 3 axes of space; `scale` [out].
  PackedConvolution(at::Tensor weight, std::optional<at::Tensor> scale, Shape shape, PackedBytes bytes);
  ~PackedConvolution();
  PackedConvolution(const PackedConvolution&) = delete;
  PackedConvolution& operator=(const PackedConvolution&) = delete;

  // For input of the shape of `input`: packed or not, which oneDNN's operators in ATen take alike.
  // `outputPadding` is of transposed ones.
  at::Tensor weightFor(const at::Tensor& input, const std::vector<int64_t>& outputPadding = {});
  at::Tensor plain() const;
  bool isOf(const std::optional<at::Tensor>& scale, const Shape& shape) const;

 private:
  const at::Tensor weight_;
  const std::optional<at::Tensor> scale_;
  const Shape shape_;
  const PackedBytes bytes_;
  std::mutex mutex_;
  // What decides the order, beside the convolution.
  struct Run {
    int64_t images;
    std::vector<int64_t> space;
    int threads;
    bool operator==(const Run&) const = default;
  };
  struct Packed {
    at::Tensor weight;
    at::Tensor order;  // as oneDNN writes it down
  };
  struct Seen {
    Run run;
    std::weak_ptr<const Packed>
        packed;  // none while its size was seen only once, or when others took its place
  };
  std::list<Seen> seen_;                             // most recently used first
  std::list<std::shared_ptr<const Packed>> packed_;  // of different orders, most recently used first

  std::shared_ptr<const Packed> pack(const at::Tensor& input, const std::vector<int64_t>& outputPadding);
};

// A matrix, times a factor for each row, in oneDNN's order, into which it is put when it is asked for first.
// Several threads may ask.
class PackedLinear {
 public:
  // `weight` is float32 on the CPU, [out, in]; `scale` [out]. `type` is that of the arithmetic: float32 or
  // bfloat16.
  PackedLinear(at::Tensor weight, std::optional<at::Tensor> scale, at::ScalarType type, PackedBytes bytes);
  ~PackedLinear();
  PackedLinear(const PackedLinear&) = delete;
  PackedLinear& operator=(const PackedLinear&) = delete;

  at::Tensor packed();
  at::Tensor plain();  // float32
  bool isOf(const std::optional<at::Tensor>& scale, at::ScalarType type) const;

 private:
  at::Tensor scaled() const;

  const std::optional<at::Tensor> scale_;
  const at::ScalarType type_;
  const PackedBytes bytes_;
  std::mutex mutex_;
  at::Tensor weight_;  // as given until it is packed: never both
};

// What the plans of one model share, so that each further layer takes little more memory: its weights as
// oneDNN wants them, and what folding made of its weights. Held by plans only: with the last that uses a
// weight it goes. Several threads may use it.
class SharedWeights {
 public:
  // The parameters and buffers of `model` are shared as they are. `type` is that of the arithmetic where no
  // gradients are wanted: float32, or bfloat16 on a CPU that has it.
  SharedWeights(const torch::jit::Module& model, at::ScalarType type);
  at::ScalarType typeWithoutGradients() const { return type_; }

  std::shared_ptr<PackedConvolution> convolution(const at::Tensor& weight,
                                                 const std::optional<at::Tensor>& scale,
                                                 const PackedConvolution::Shape& shape);
  std::shared_ptr<PackedLinear> linear(const at::Tensor& weight,
                                       const std::optional<at::Tensor>& scale,
                                       at::ScalarType type);

  // `constant`, on the CPU, contiguous, or what another plan has that is the same bit by bit.
  at::Tensor shared(const at::Tensor& constant);
  // Constants of the graph on the CPU that another plan has too, bit by bit, become that plan's.
  void shareConstants(torch::jit::Graph& graph);

  // Of all packed weights; never waits for one that is being packed.
  std::size_t packedBytes() const { return packedBytes_->load(); }

 private:
  // A tensor's memory and how it lies there. Its owner is held weakly, so that the address stays taken.
  using Place = std::tuple<const c10::StorageImpl*, int64_t, std::vector<int64_t>, std::vector<int64_t>>;
  static Place placeOf(const at::Tensor& tensor);
  template <typename Packed>
  struct Known {
    c10::weak_intrusive_ptr<c10::StorageImpl> memory;
    std::vector<std::weak_ptr<Packed>> packed;
  };
  using WeakTensor = c10::weak_intrusive_ptr<at::TensorImpl, c10::UndefinedTensorImpl>;

  template <typename Packed>
  static std::vector<std::weak_ptr<Packed>>& knownOf(std::map<Place, Known<Packed>>& all,
                                                     const at::Tensor& tensor);

  const at::ScalarType type_;
  const PackedBytes packedBytes_ = std::make_shared<std::atomic<std::size_t>>(0);
  std::unordered_set<const c10::StorageImpl*> ofModel_;
  std::mutex mutex_;
  std::map<Place, Known<PackedConvolution>> convolutions_;
  std::map<Place, Known<PackedLinear>> linears_;
  std::unordered_multimap<std::size_t, WeakTensor> constants_;  // by what they hold
};

}  // namespace gradcam
