#ifndef THERMOGRAD_SERVICE_WORKER_POOL_H_
#define THERMOGRAD_SERVICE_WORKER_POOL_H_

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace thermograd::service {

/// Threads for work that would hold up gRPC's two callback threads. Bounded by its callers: a
/// stream has at most one task here, because it does not read on before the task is done. Long
/// tasks never take all threads, so that many cheap streams are not held up by a few expensive
/// ones.
class WorkerPool {
 public:
  enum class Length {
    /// Milliseconds.
    kShort,
    /// Perhaps seconds.
    kLong,
  };

  /// `long_tasks`: how many may run at a time; one thread more stays free for short ones.
  explicit WorkerPool(unsigned long_tasks);
  /// Runs what was submitted, then joins.
  ~WorkerPool();

  void Submit(Length length, std::function<void()> task);

 private:
  struct Task {
    uint64_t number;
    std::function<void()> run;
  };

  void Work();
  // The queue that the next task is taken from, the older first; null if there is nothing to do.
  std::deque<Task>* NextLocked();

  const unsigned max_long_;
  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t submitted_ = 0;
  std::deque<Task> short_;
  std::deque<Task> long_;
  unsigned running_long_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_WORKER_POOL_H_
