#ifndef THERMOGRAD_CLIENT_SRC_WATCHDOG_H_
#define THERMOGRAD_CLIENT_SRC_WATCHDOG_H_

#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace thermograd::client {

// Bounds the time that one operation at a time may take. The first that takes longer expires the
// watchdog for good.
class Watchdog {
 public:
  // `on_expiry` is called at most once, on the watchdog's own thread. Nobody can disarm or destroy
  // the watchdog until it returns.
  explicit Watchdog(std::function<void()> on_expiry);
  ~Watchdog();

  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  // Starts to watch an operation. `failure` says what did not happen if it takes longer than
  // `timeout`; it must outlive the watchdog.
  void Arm(absl::Duration timeout, absl::string_view failure);

  // Ends the watch. DEADLINE_EXCEEDED if the watchdog has ever expired.
  absl::Status Disarm();

 private:
  void Watch();

  const std::function<void()> on_expiry_;
  absl::Mutex mutex_;
  absl::CondVar changed_;
  absl::Duration timeout_ ABSL_GUARDED_BY(mutex_);
  absl::string_view failure_ ABSL_GUARDED_BY(mutex_);
  absl::Time deadline_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  absl::Time wakes_at_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  absl::Status expiry_ ABSL_GUARDED_BY(mutex_);
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace thermograd::client

#endif  // THERMOGRAD_CLIENT_SRC_WATCHDOG_H_
