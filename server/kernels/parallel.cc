#include "kernels/parallel.h"

#include <algorithm>
#include <atomic>
#include <system_error>
#include <thread>
#include <vector>

namespace thermograd::kernels {
namespace {

std::atomic<size_t> max_threads{0};
std::atomic<size_t> busy_threads{0};

size_t MaxThreads() {
  static const size_t cores = std::max(1u, std::thread::hardware_concurrency());
  const size_t threads = max_threads;
  return threads == 0 ? cores : threads;
}

// Threads that are counted as busy as long as this lives.
class BusyThreads {
 public:
  explicit BusyThreads(size_t wanted) : taken_(1) {
    size_t busy = ++busy_threads;
    while (taken_ < wanted && busy < MaxThreads()) {
      if (busy_threads.compare_exchange_weak(busy, busy + 1)) {
        ++taken_;
        ++busy;
      }
    }
  }
  ~BusyThreads() { busy_threads -= taken_; }
  BusyThreads(const BusyThreads&) = delete;
  BusyThreads& operator=(const BusyThreads&) = delete;

  size_t taken() const { return taken_; }

 private:
  size_t taken_;
};

}  // namespace

void SetMaxThreads(size_t threads) { max_threads = threads; }

void ParallelFor(size_t count, const std::function<void(size_t)>& task) {
  const BusyThreads threads(count);
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t i = next++; i < count; i = next++) task(i);
  };
  std::vector<std::thread> helpers;
  try {
    while (helpers.size() + 1 < threads.taken()) helpers.emplace_back(work);
  } catch (const std::system_error&) {
    // Fewer threads then.
  }
  work();
  for (std::thread& helper : helpers) helper.join();
}

}  // namespace thermograd::kernels
