#ifndef THERMOGRAD_STATISTICS_WINDOW_H_
#define THERMOGRAD_STATISTICS_WINDOW_H_

#include <cstddef>
#include <deque>
#include <utility>

namespace thermograd::statistics {

/// The additive sums of the latest steps, one entry a step. Readers sum over the entries afresh: a
/// running total would keep the rounding of everything that ever passed through it.
template <typename Sums>
class Window {
 public:
  explicit Window(size_t steps) : steps_(steps) {}

  void Push(Sums sums) {
    if (entries_.size() == steps_) entries_.pop_front();
    entries_.push_back(std::move(sums));
  }

  const std::deque<Sums>& entries() const { return entries_; }

 private:
  size_t steps_;
  std::deque<Sums> entries_;
};

}  // namespace thermograd::statistics

#endif  // THERMOGRAD_STATISTICS_WINDOW_H_
