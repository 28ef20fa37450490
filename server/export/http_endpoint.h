#ifndef THERMOGRAD_EXPORT_HTTP_ENDPOINT_H_
#define THERMOGRAD_EXPORT_HTTP_ENDPOINT_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "export/run_collector.h"
#include "service/access.h"
#include "service/run_registry.h"

namespace thermograd::exporter {

/// Serves `/metrics` and, at `/`, a page that says what this is and which runs are live. Plain
/// text: TLS is a proxy's work.
class HttpEndpoint {
 public:
  /// Listens on `address` ("host:port"; port 0: any). `readers`: who may read, by HTTP's basic
  /// authentication; null: everybody. The pointees outlive the endpoint.
  static absl::StatusOr<std::unique_ptr<HttpEndpoint>> Listen(const std::string& address,
                                                              const RunCollector* collector,
                                                              service::RunRegistry* runs,
                                                              const service::AccessFile* readers,
                                                              service::ServiceCounters* counters);
  virtual ~HttpEndpoint() = default;

  /// "host:port" with the port in use.
  virtual std::string address() const = 0;
};

}  // namespace thermograd::exporter

#endif  // THERMOGRAD_EXPORT_HTTP_ENDPOINT_H_
