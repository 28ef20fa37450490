#ifndef THERMOGRAD_STATISTICS_BUCKETED_WINDOW_H_
#define THERMOGRAD_STATISTICS_BUCKETED_WINDOW_H_

#include <algorithm>
#include <cstddef>
#include <deque>
#include <utility>

namespace thermograd::statistics {

/// The additive sums of the latest steps in at most kBuckets buckets of consecutive steps, for sums
/// that are too large to be kept for every step (r x r matrices). It covers exactly the declared
/// steps where these are at most kBuckets; otherwise whole buckets leave it, so that it covers
/// between three quarters of them and all. `Sums` has Merge.
template <typename Sums>
class BucketedWindow {
 public:
  static constexpr size_t kBuckets = 8;

  explicit BucketedWindow(size_t steps)
      : steps_per_bucket_((steps + kBuckets - 1) / kBuckets),
        buckets_at_most_(steps / steps_per_bucket_) {}

  /// Adds the sums of one step.
  void Push(Sums sums) {
    if (!buckets_.empty() && steps_in_last_ < steps_per_bucket_) {
      buckets_.back().Merge(sums);
      ++steps_in_last_;
      return;
    }
    if (buckets_.size() == buckets_at_most_) buckets_.pop_front();
    buckets_.push_back(std::move(sums));
    steps_in_last_ = 1;
  }

  /// Steps in the window now.
  size_t steps() const {
    return buckets_.empty() ? 0 : (buckets_.size() - 1) * steps_per_bucket_ + steps_in_last_;
  }

  /// The sums over the window, added afresh: a running total would keep the rounding of everything
  /// that ever passed through it.
  Sums Total() const {
    Sums total;
    for (const Sums& bucket : buckets_) total.Merge(bucket);
    return total;
  }

 private:
  size_t steps_per_bucket_;
  size_t buckets_at_most_;
  size_t steps_in_last_ = 0;
  std::deque<Sums> buckets_;
};

}  // namespace thermograd::statistics

#endif  // THERMOGRAD_STATISTICS_BUCKETED_WINDOW_H_
