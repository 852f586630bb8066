#pragma once

#include <atomic>
#include <cstddef>

namespace gradcam {

// A base class that counts how many objects of `T` are alive in the process, so that a leak can be told.
template <typename T>
class Counted {
 public:
  static std::size_t alive() { return alive_.load(std::memory_order_relaxed); }

 protected:
  Counted() { alive_.fetch_add(1, std::memory_order_relaxed); }
  Counted(const Counted&) : Counted() {}
  Counted& operator=(const Counted&) = default;
  ~Counted() { alive_.fetch_sub(1, std::memory_order_relaxed); }

 private:
  static inline std::atomic<std::size_t> alive_{0};
};

}  // namespace gradcam
