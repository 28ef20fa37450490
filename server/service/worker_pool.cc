#include "service/worker_pool.h"

#include <utility>

namespace thermograd::service {

WorkerPool::WorkerPool(unsigned long_tasks) : max_long_(long_tasks) {
  for (unsigned i = 0; i < long_tasks + 1; ++i) threads_.emplace_back([this] { Work(); });
}

WorkerPool::~WorkerPool() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void WorkerPool::Submit(Length length, std::function<void()> task) {
  {
    const std::lock_guard lock(mutex_);
    (length == Length::kLong ? long_ : short_).push_back({submitted_++, std::move(task)});
  }
  changed_.notify_one();
}

std::deque<WorkerPool::Task>* WorkerPool::NextLocked() {
  const bool may_be_long = !long_.empty() && running_long_ < max_long_;
  if (short_.empty()) return may_be_long ? &long_ : nullptr;
  return may_be_long && long_.front().number < short_.front().number ? &long_ : &short_;
}

void WorkerPool::Work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    std::deque<Task>* queue = nullptr;
    changed_.wait(lock, [&] {
      queue = NextLocked();
      return queue != nullptr || (stopping_ && short_.empty() && long_.empty());
    });
    if (queue == nullptr) return;
    const bool is_long = queue == &long_;
    const std::function<void()> task = std::move(queue->front().run);
    queue->pop_front();
    if (is_long) ++running_long_;
    lock.unlock();
    task();
    lock.lock();
    if (is_long) {
      --running_long_;
      // One that waited for this place, or the end.
      changed_.notify_all();
    }
  }
}

}  // namespace thermograd::service
