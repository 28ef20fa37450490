#ifndef THERMOGRAD_SERVICE_MESSAGES_H_
#define THERMOGRAD_SERVICE_MESSAGES_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "metrics/figure.h"
#include "service/limits.h"
#include "service/run_registry.h"
#include "service/step.h"
#include "thermograd/v1/report.pb.h"
#include "thermograd/v1/training_analysis_service.pb.h"

namespace thermograd::service {

/// Contract's name of a reason.
v1::UndefinedReason ToProto(metrics::Undefined reason);

/// Splits figures into a message's `metrics` and `undefined`.
template <typename Message>
void WriteFigures(const metrics::Figures& figures, Message* message) {
  const auto write_labels = [](const metrics::Figure& figure, auto* out) {
    out->set_name(figure.name);
    for (const auto& [name, value] : figure.labels) {
      v1::Label* label = out->add_labels();
      label->set_name(name);
      label->set_value(value);
    }
  };
  for (const metrics::Figure& figure : figures) {
    if (const double* value = std::get_if<double>(&figure.result)) {
      auto* metric = message->add_metrics();
      write_labels(figure, metric);
      metric->set_value(*value);
    } else {
      auto* undefined = message->add_undefined();
      write_labels(figure, undefined);
      undefined->set_reason(ToProto(std::get<metrics::Undefined>(figure.result)));
    }
  }
}

v1::StreamRunResponse RunAccepted(const Limits& limits, uint32_t window_steps);
v1::StreamRunResponse Notice(AnalysisNotice notice, std::optional<uint64_t> step);
v1::StreamRunResponse DrainingNotice();
v1::StreamRunResponse Acknowledgement(uint64_t step);

/// Every metric of the catalogue.
v1::DescribeMetricsResponse DescribeCatalogue();

/// The message that asks a client for another cadence.
v1::StreamRunResponse CadenceResponse(const Cadence& cadence);

/// What a SetCadenceRequest asks for, or INVALID_ARGUMENT naming the field.
absl::StatusOr<Cadence> CheckCadence(const v1::Cadence& cadence, const Limits& limits);

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_MESSAGES_H_
