#include "src/watchdog.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace thermograd::client {

Watchdog::Watchdog(std::function<void()> on_expiry)
    : on_expiry_(std::move(on_expiry)), thread_([this] { Watch(); }) {}

Watchdog::~Watchdog() {
  {
    absl::MutexLock lock(&mutex_);
    stopped_ = true;
    changed_.Signal();
  }
  thread_.join();
}

void Watchdog::Arm(absl::Duration timeout, absl::string_view failure) {
  const absl::Time deadline = absl::Now() + timeout;
  absl::MutexLock lock(&mutex_);
  timeout_ = timeout;
  failure_ = failure;
  deadline_ = deadline;
  // Seldom: a stream of operations with one timeout finds the thread waiting for an earlier
  // deadline, after which it looks again. So watching costs no context switch an operation.
  if (deadline_ < wakes_at_) changed_.Signal();
}

absl::Status Watchdog::Disarm() {
  absl::MutexLock lock(&mutex_);
  deadline_ = absl::InfiniteFuture();
  return expiry_;
}

void Watchdog::Watch() {
  absl::MutexLock lock(&mutex_);
  while (!stopped_) {
    wakes_at_ = deadline_;
    changed_.WaitWithDeadline(&mutex_, wakes_at_);
    if (stopped_ || absl::Now() < deadline_) continue;
    expiry_ = absl::DeadlineExceededError(
        absl::StrCat(failure_, " within ", absl::FormatDuration(timeout_)));
    on_expiry_();
    return;
  }
}

}  // namespace thermograd::client
