#ifndef THERMOGRAD_EXPORT_RUN_COLLECTOR_H_
#define THERMOGRAD_EXPORT_RUN_COLLECTOR_H_

#include <vector>

#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"
#include "service/run_session.h"

namespace thermograd::exporter {

/// Makes Prometheus' families afresh at each scrape from what the service knows at that moment, so
/// that an ended run's series vanish together and nothing is mirrored.
class RunCollector final : public prometheus::Collectable {
 public:
  /// What goes beyond the limit max_series is counted, not shown.
  explicit RunCollector(const service::Environment& environment) : environment_(environment) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const service::Environment environment_;
};

}  // namespace thermograd::exporter

#endif  // THERMOGRAD_EXPORT_RUN_COLLECTOR_H_
