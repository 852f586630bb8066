#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/given_inputs.h"
#include "api/layers.h"
#include "api/output_tree.h"
#include "api/tensor_handle.h"

namespace gradcam {

struct ModelState;  // holds the torch::jit::Module; see model_state.h

// A fact about a model that its user must know.
struct ModelWarning {
  const char* code;  // "training-mode", "mixes-images", "one-image" or "exact-batch"
  std::string message;
  std::string method;  // of the model's, that it is true of
};

struct ModelFacts {
  std::string device;
  std::optional<ElementType> elementType;  // of the floating-point parameters
  int64_t parameterCount;
  int64_t byteLength;  // parameters and buffers
  bool frozen;
  bool exported;        // a program of torch.export, not TorchScript
  bool takesImageList;  // forward takes a list of images, each of a size of its own
  // Of an exported program whose first input has a fixed number of images: that number.
  std::optional<int64_t> exportedBatch;
  std::vector<std::string> methods;
  std::vector<std::string> signatures;  // of each method: "forward(x: Tensor, sr: int = 16000)"
};

// A parameter or buffer.
struct WeightInfo {
  std::string name;  // dotted path from the root
  std::vector<int64_t> shape;
};

// A loaded model. Immutable, so that jobs of several threads may share it.
class Model {
 public:
  explicit Model(std::unique_ptr<ModelState> state);
  ~Model();
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  ModelFacts facts() const;
  std::vector<LayerInfo> layers() const;
  std::vector<WeightInfo> weights() const;
  // A copy on the CPU; none where there is no parameter or buffer of that name.
  std::optional<TensorHandle> weight(const std::string& name) const;
  std::size_t cachedPlans() const;
  // Bytes of weights that plans keep in oneDNN's order, beside the model's own.
  std::size_t packedBytes() const;
  // More of them as the model runs: what only takes one image is found out.
  std::vector<ModelWarning> warnings() const;
  // A method as it is, without gradients. Throws ERR_NO_FORWARD where there is none of that name.
  OutputTree run(const std::string& method, const GivenInputs& inputs) const;

  ModelState& state() const { return *state_; }

 private:
  std::unique_ptr<ModelState> state_;
};

struct LoadOptions {
  std::string device = "cpu";  // "cpu", "cuda", "cuda:N" or "auto"
  std::optional<ElementType>
      elementType;  // cast floating-point weights; none: float16 becomes float32 on the CPU
  std::vector<std::string> libraries;  // of custom operators, loaded before the model
  bool bfloat16 = false;               // on the CPU: compute in it what runs without gradients
  bool tf32 = false;                   // on a GPU; see DeviceMode
  bool cudnnBenchmark = false;
  Arguments arguments;  // of its methods, for those that a call does not give
};

// Throws ERR_MODEL_NOT_FOUND, ERR_MODEL_LOAD, ERR_MODEL_ARGUMENTS, ERR_MISSING_OPERATOR,
// ERR_OPERATOR_LIBRARY, ERR_CUDA_UNAVAILABLE, ERR_OUT_OF_MEMORY.
std::shared_ptr<Model> loadModel(const std::string& path, const LoadOptions& options);

// Writes an exported program as a TorchScript file, which other programs with LibTorch can load. Throws what
// loadModel() does, and ERR_UNSUPPORTED for what TorchScript's files cannot hold.
void convertModel(const std::string& path, const std::string& to, const std::vector<std::string>& libraries);

}  // namespace gradcam
