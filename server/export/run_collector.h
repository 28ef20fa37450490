#ifndef THERMOGRAD_EXPORT_RUN_COLLECTOR_H_
#define THERMOGRAD_EXPORT_RUN_COLLECTOR_H_

#include <cstddef>
#include <vector>

#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"
#include "service/run_session.h"

namespace thermograd::exporter {

/// Makes Prometheus' families afresh at each scrape from what the service knows at that moment, so
/// that an ended run's series vanish together and nothing is mirrored.
class RunCollector final : public prometheus::Collectable {
 public:
  /// `max_series`: ceiling over all runs; what is beyond it is counted, not shown.
  RunCollector(const service::Environment& environment, size_t max_series)
      : environment_(environment), max_series_(max_series) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const service::Environment environment_;
  const size_t max_series_;
};

}  // namespace thermograd::exporter

#endif  // THERMOGRAD_EXPORT_RUN_COLLECTOR_H_
