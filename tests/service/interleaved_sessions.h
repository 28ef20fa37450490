#ifndef THERMOGRAD_TESTS_SERVICE_INTERLEAVED_SESSIONS_H_
#define THERMOGRAD_TESTS_SERVICE_INTERLEAVED_SESSIONS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "service/run_session.h"
#include "tests/service/session_environment.h"

namespace thermograd::service {

/// Several streams of one server, without transport, in any order, with a watch over what must hold
/// of them whatever they send:
///   - a refusal says that the input is at fault, or a limit;
///   - figures are finite, undefined ones have a reason, and none comes twice in one report;
///   - RunAccepted comes first and once, and nothing comes after the stream has ended;
///   - a step is acknowledged at most once, after it has ended, and in order;
///   - every step that began is acknowledged, or counted as incomplete or as waiting for ranks;
///   - all memory is given back.
class InterleavedSessions {
 public:
  InterleavedSessions(const Limits& limits, uint64_t max_bytes, size_t sessions)
      : environment_(std::in_place, limits, max_bytes), streams_(sessions) {}

  /// Hands a message to a session, which it opens if there is none; an error ends it.
  absl::Status Receive(size_t session, const v1::StreamRunRequest& request);

  /// The client of a session hangs up.
  void End(size_t session);

  /// Gives up steps that wait for other ranks.
  void ExpireSteps() { environment_->ranks().Expire(RankGroup::Clock::time_point::max()); }

  /// Asks the clients of a run for another cadence. Returns how many there are.
  uint32_t Ask(const std::string& run, const Cadence& cadence);

  /// All hang up. What they held must be free then.
  void EndAll();

  /// Answers that a session has got, by all streams that it was.
  const std::vector<v1::StreamRunResponse>& responses(size_t session) const {
    return streams_[session].responses;
  }
  bool is_open(size_t session) const { return streams_[session].session != nullptr; }
  uint64_t acknowledged() const { return acknowledged_; }

  /// The first thing seen that must not be; empty: there was none.
  const std::string& violation() const { return violation_; }

 private:
  struct Stream {
    std::unique_ptr<RunSession> session;
    bool accepted = false;
    std::optional<uint64_t> open_step;
    std::set<uint64_t> unacknowledged;  // ended
    std::optional<uint64_t> last_acknowledged;
    std::vector<v1::StreamRunResponse> responses;
  };

  void Require(bool condition, const std::string& what) {
    if (!condition && violation_.empty()) violation_ = what;
  }
  void Take(Stream* stream, std::vector<v1::StreamRunResponse> responses);
  void CheckReport(const v1::StepReport& report);

  std::optional<SessionEnvironment> environment_;
  std::vector<Stream> streams_;
  uint64_t begun_ = 0;
  uint64_t acknowledged_ = 0;
  uint64_t incomplete_ = 0;
  uint64_t abandoned_ = 0;  // ended, but the stream did not wait for the other ranks
  std::string violation_;
};

}  // namespace thermograd::service

#endif  // THERMOGRAD_TESTS_SERVICE_INTERLEAVED_SESSIONS_H_
