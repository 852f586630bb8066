#include "api/failure.h"

#include "core/process/torch.h"

namespace gradcam {
namespace {

std::string whatOf(std::exception_ptr exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const c10::Error& error) {
    return error.what_without_backtrace();
  } catch (const std::exception& error) {
    return error.what();
  } catch (...) {
    return "an exception that is not a std::exception";
  }
}

bool isOutOfMemory(std::exception_ptr exception, const std::string& message) {
  try {
    std::rethrow_exception(exception);
  } catch (const std::bad_alloc&) {
    return true;
  } catch (const c10::OutOfMemoryError&) {
    return true;
  } catch (...) {
    // The interpreter keeps only the words of most exceptions.
    for (const char* words :
         {"can't allocate memory", "not enough memory", "CUDA out of memory", "CUDA error: out of memory",
          "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED"}) {
      if (message.find(words) != std::string::npos) return true;
    }
    return false;
  }
}

}  // namespace

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

std::string torchMessage(std::exception_ptr exception) {
  std::string message = whatOf(exception);
  // The interpreter prints a traceback of the model's source and then "RuntimeError: <the sentence that
  // matters>".
  const std::string marker = "RuntimeError: ";
  if (const auto position = message.rfind(marker); position != std::string::npos) {
    message = message.substr(position + marker.size());
  }
  // What the model's own code raises ends with "builtins.ValueError: <the sentence>".
  const std::string raised = "\nbuiltins.";
  if (const auto position = message.rfind(raised); position != std::string::npos) {
    const auto colon = message.find(": ", position);
    if (colon != std::string::npos) message = message.substr(colon + 2);
  }
  if (const auto position = message.find("\nException raised from"); position != std::string::npos) {
    message.resize(position);
  }
  while (!message.empty() && (message.back() == '\n' || message.back() == ' ')) message.pop_back();
  return message;
}

Failure toFailure(std::exception_ptr exception, const char* fallbackCode) {
  try {
    std::rethrow_exception(exception);
  } catch (const Failure& failure) {
    return failure;
  } catch (...) {
    const std::string message = torchMessage(exception);
    if (isOutOfMemory(exception, message)) {
      return Failure("ERR_OUT_OF_MEMORY", "Not enough memory: " + message +
                                              ". Use a smaller batch or input, or free other models.");
    }
    return Failure(fallbackCode, message);
  }
}

}  // namespace gradcam
