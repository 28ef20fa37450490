#include "tests/service/interleaved_sessions.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"

namespace thermograd::service {
namespace {

bool IsFaultOfInput(const absl::Status& status) {
  return absl::IsInvalidArgument(status) || absl::IsResourceExhausted(status) ||
         absl::IsUnimplemented(status);
}

template <typename Figure>
std::string SeriesOf(const Figure& figure) {
  std::string series = figure.name();
  for (const v1::Label& label : figure.labels()) {
    absl::StrAppend(&series, "\n", label.name(), "=", label.value());
  }
  return series;
}

}  // namespace

absl::Status InterleavedSessions::Receive(size_t session, const v1::StreamRunRequest& request) {
  Stream& stream = streams_[session];
  if (stream.session == nullptr) {
    stream.accepted = false;
    stream.last_acknowledged.reset();
    stream.session = std::make_unique<RunSession>(
        environment_->Get(), [] {},
        [this, &stream](std::vector<v1::StreamRunResponse> responses) {
          Require(stream.session != nullptr, "an answer came after the stream had ended");
          Take(&stream, std::move(responses));
        });
  }
  // Before the call: other ranks may be answered within it.
  const std::optional<uint64_t> open_step = stream.open_step;
  if (request.has_step_end() && open_step) stream.unacknowledged.insert(*open_step);
  std::vector<v1::StreamRunResponse> responses;
  absl::Status status = stream.session->Receive(request, &responses);
  Take(&stream, std::move(responses));
  if (!status.ok()) {
    Require(IsFaultOfInput(status), absl::StrCat("a refusal says ", status.ToString()));
    if (request.has_step_end() && open_step) stream.unacknowledged.erase(*open_step);
    End(session);
    return status;
  }
  if (request.has_run_spec()) Require(stream.accepted, "a run was accepted without a word");
  if (request.has_step_begin()) {
    ++begun_;
    stream.open_step = request.step_begin().step();
  }
  if (request.has_step_end()) stream.open_step.reset();
  return status;
}

void InterleavedSessions::End(size_t session) {
  Stream& stream = streams_[session];
  if (stream.session == nullptr) return;
  // The other ranks may be answered within its destructor, this one must not.
  std::unique_ptr<RunSession> ending = std::move(stream.session);
  ending.reset();
  if (stream.open_step) ++incomplete_;
  stream.open_step.reset();
  abandoned_ += stream.unacknowledged.size();
  stream.unacknowledged.clear();
  Require(environment_->counters().incomplete_steps == incomplete_,
          "a step that was open when its stream ended is not counted");
}

uint32_t InterleavedSessions::Ask(const std::string& run, const Cadence& cadence) {
  return environment_->runs().Ask({run}, cadence);
}

void InterleavedSessions::EndAll() {
  for (size_t i = 0; i < streams_.size(); ++i) End(i);
  const ServiceCounters& counters = environment_->counters();
  Require(begun_ == acknowledged_ + incomplete_ + abandoned_,
          absl::StrCat(begun_, " steps began, ", acknowledged_, " were acknowledged, ", incomplete_,
                       " incomplete, ", abandoned_, " abandoned"));
  Require(counters.steps == acknowledged_,
          absl::StrCat(counters.steps.load(), " steps are counted, ", acknowledged_,
                       " were acknowledged"));
  Require(abandoned_ == 0 || counters.incomplete_rank_steps > 0,
          "a step that its ranks did not all end is not counted");
  environment_->ForgetEnded();
  const uint64_t bytes = environment_->admission().bytes();
  Require(bytes == 0, absl::StrCat(bytes, " bytes are still taken"));
}

void InterleavedSessions::Take(Stream* stream, std::vector<v1::StreamRunResponse> responses) {
  for (v1::StreamRunResponse& response : responses) {
    switch (response.message_case()) {
      case v1::StreamRunResponse::kRunAccepted:
        Require(!stream->accepted, "a run was accepted twice");
        stream->accepted = true;
        break;
      case v1::StreamRunResponse::kStepReport:
        Require(stream->unacknowledged.contains(response.step_report().step()),
                "a report is of no step that waits for one");
        CheckReport(response.step_report());
        break;
      case v1::StreamRunResponse::kAcknowledgement: {
        const uint64_t step = response.acknowledgement().step();
        Require(stream->unacknowledged.erase(step) == 1,
                absl::StrCat("step ", step, " was acknowledged, but had not ended, or twice"));
        Require(!stream->last_acknowledged || *stream->last_acknowledged < step,
                absl::StrCat("step ", step, " was acknowledged after a later one"));
        stream->last_acknowledged = step;
        ++acknowledged_;
        break;
      }
      case v1::StreamRunResponse::kNotice:
        Require(!response.notice().text().empty(), "a notice says nothing");
        break;
      case v1::StreamRunResponse::kCadence:
        break;
      default:
        Require(false, "an answer is empty");
    }
    Require(stream->accepted, "an answer came before the run was accepted");
    stream->responses.push_back(std::move(response));
  }
}

void InterleavedSessions::CheckReport(const v1::StepReport& report) {
  std::set<std::string> series;
  const auto check_series = [&](std::string name) {
    const auto [entry, is_new] = series.insert(std::move(name));
    Require(is_new, absl::StrCat("a report has twice ", *entry));
  };
  for (const v1::MetricValue& metric : report.metrics()) {
    Require(std::isfinite(metric.value()), absl::StrCat(metric.name(), " is not finite"));
    check_series(SeriesOf(metric));
  }
  for (const v1::UndefinedMetric& undefined : report.undefined()) {
    Require(undefined.reason() != v1::UNDEFINED_REASON_UNSPECIFIED &&
                v1::UndefinedReason_IsValid(undefined.reason()),
            absl::StrCat(undefined.name(), " has no reason"));
    check_series(SeriesOf(undefined));
  }
}

}  // namespace thermograd::service
