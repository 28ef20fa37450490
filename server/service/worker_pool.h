#ifndef THERMOGRAD_SERVICE_WORKER_POOL_H_
#define THERMOGRAD_SERVICE_WORKER_POOL_H_

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace thermograd::service {

/// Threads for work that would hold up gRPC's two callback threads. Bounded by its callers: a
/// stream has at most one task here, because it does not read on before the task is done.
class WorkerPool {
 public:
  explicit WorkerPool(unsigned threads);
  /// Runs what was submitted, then joins.
  ~WorkerPool();

  void Submit(std::function<void()> task);

 private:
  void Work();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_WORKER_POOL_H_
