#include "src/watchdog.h"

#include <string>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace thermograd::client {
namespace {

TEST(Watchdog, ExpiresOnceAndForGood) {
  absl::Notification expired;
  Watchdog watchdog([&expired] { expired.Notify(); });
  watchdog.Arm(absl::Milliseconds(10), "nothing happened");
  ASSERT_TRUE(expired.WaitForNotificationWithTimeout(absl::Seconds(4)));
  const absl::Status status = watchdog.Disarm();
  EXPECT_EQ(status, absl::DeadlineExceededError("nothing happened within 10ms"));
  watchdog.Arm(absl::InfiniteDuration(), "more");
  EXPECT_EQ(watchdog.Disarm(), status);
}

TEST(Watchdog, LeavesTimelyOperationsAlone) {
  bool expired = false;
  {
    Watchdog watchdog([&expired] { expired = true; });
    // Together far longer than the timeout of one.
    for (int i = 0; i < 12; ++i) {
      watchdog.Arm(absl::Seconds(1), "");
      absl::SleepFor(absl::Milliseconds(100));
      EXPECT_TRUE(watchdog.Disarm().ok());
    }
    absl::SleepFor(absl::Milliseconds(1100));
    EXPECT_TRUE(watchdog.Disarm().ok());
  }
  EXPECT_FALSE(expired);
}

TEST(Watchdog, MindsADeadlineEarlierThanTheOneItWaitsFor) {
  absl::Notification expired;
  Watchdog watchdog([&expired] { expired.Notify(); });
  watchdog.Arm(absl::Hours(1), "");
  absl::SleepFor(absl::Milliseconds(20));
  EXPECT_TRUE(watchdog.Disarm().ok());
  watchdog.Arm(absl::Milliseconds(10), "");
  EXPECT_TRUE(expired.WaitForNotificationWithTimeout(absl::Seconds(4)));
}

TEST(Watchdog, MindsADeadlineAfterItWasIdle) {
  absl::Notification expired;
  Watchdog watchdog([&expired] { expired.Notify(); });
  watchdog.Arm(absl::Milliseconds(10), "");
  EXPECT_TRUE(watchdog.Disarm().ok());
  absl::SleepFor(absl::Milliseconds(50));
  watchdog.Arm(absl::Milliseconds(10), "");
  EXPECT_TRUE(expired.WaitForNotificationWithTimeout(absl::Seconds(4)));
}

}  // namespace
}  // namespace thermograd::client
