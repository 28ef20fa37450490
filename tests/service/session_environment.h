#ifndef THERMOGRAD_TESTS_SERVICE_SESSION_ENVIRONMENT_H_
#define THERMOGRAD_TESTS_SERVICE_SESSION_ENVIRONMENT_H_

#include <chrono>
#include <cstdint>

#include "service/run_session.h"

namespace thermograd::service {

/// What all sessions of a server share, for sessions without a server.
class SessionEnvironment {
 public:
  SessionEnvironment(const Limits& limits, uint64_t max_bytes)
      : limits_(limits),
        admission_(16, max_bytes),
        runs_(kGrace, 16, &admission_),
        probes_(max_bytes, kGrace, &admission_) {}

  Environment Get() {
    return {.limits = limits_,
            .admission = &admission_,
            .runs = &runs_,
            .ranks = &ranks_,
            .probes = &probes_,
            .counters = &counters_};
  }
  /// The time passes after which ended runs and representations are forgotten.
  void ForgetEnded() {
    const auto later = RunRegistry::Clock::now() + 2 * kGrace;
    runs_.List(later);
    probes_.Others({}, {}, later);
  }

  Admission& admission() { return admission_; }
  RunRegistry& runs() { return runs_; }
  RankGroups& ranks() { return ranks_; }
  const ServiceCounters& counters() const { return counters_; }

 private:
  static constexpr std::chrono::minutes kGrace{1};

  Limits limits_;
  Admission admission_;
  RunRegistry runs_;
  ProbeBoard probes_;
  ServiceCounters counters_;
  RankGroups ranks_{&counters_};
};

}  // namespace thermograd::service

#endif  // THERMOGRAD_TESTS_SERVICE_SESSION_ENVIRONMENT_H_
