#include "export/http_endpoint.h"

#include <utility>
#include <vector>

#include "CivetServer.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "prometheus/text_serializer.h"

namespace thermograd::exporter {
namespace {

std::string EscapeHtml(const std::string& text) {
  return absl::StrReplaceAll(
      text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}, {"'", "&#39;"}});
}

void Respond(mg_connection* connection, const char* status, const char* content_type,
             const std::string& body) {
  mg_printf(connection,
            "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
            status, content_type, body.size());
  mg_write(connection, body.data(), body.size());
}

class MetricsHandler final : public CivetHandler {
 public:
  explicit MetricsHandler(const RunCollector* collector) : collector_(collector) {}

  bool handleGet(CivetServer* /*server*/, mg_connection* connection) override {
    Respond(connection, "200 OK", "text/plain; version=0.0.4; charset=utf-8",
            prometheus::TextSerializer().Serialize(collector_->Collect()));
    return true;
  }

 private:
  const RunCollector* collector_;
};

class PageHandler final : public CivetHandler {
 public:
  explicit PageHandler(service::RunRegistry* runs) : runs_(runs) {}

  bool handleGet(CivetServer* /*server*/, mg_connection* connection) override {
    if (std::string(mg_get_request_info(connection)->local_uri) != "/") {
      Respond(connection, "404 Not Found", "text/plain; charset=utf-8", "Not found.\n");
      return true;
    }
    std::string page =
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Thermograd</title>"
        "<h1>Thermograd</h1><p>Live thermodynamics of neural-network training. Trainers stream "
        "gradients, weights and activations over gRPC; Prometheus reads <a "
        "href=\"/metrics\">/metrics</a>.</p><h2>Runs</h2>";
    std::string rows;
    for (const service::RunSnapshot& run : runs_->List()) {
      absl::StrAppend(&rows, "<tr><td>", EscapeHtml(run.run), "<td>", run.rank, " of ",
                      run.world_size, "<td>", run.live ? "live" : "ended", "<td>",
                      run.steps > 0 ? absl::StrCat(run.last_step) : "none yet");
    }
    if (rows.empty()) {
      page += "<p>No run is live.</p>";
    } else {
      absl::StrAppend(&page, "<table><tr><th>run<th>rank<th>state<th>latest step", rows,
                      "</table>");
    }
    page += "</html>\n";
    Respond(connection, "200 OK", "text/html; charset=utf-8", page);
    return true;
  }

 private:
  service::RunRegistry* runs_;
};

class CivetEndpoint final : public HttpEndpoint {
 public:
  CivetEndpoint(const std::string& address, const RunCollector* collector,
                service::RunRegistry* runs)
      : metrics_(collector),
        page_(runs),
        // A slow reader holds a thread: several, and a deadline for requests.
        server_(std::vector<std::string>{"listening_ports", address, "num_threads", "4",
                                         "request_timeout_ms", "5000"}),
        host_(address.substr(0, address.rfind(':'))) {
    server_.addHandler("/metrics", metrics_);
    server_.addHandler("/", page_);
  }

  std::string address() const override {
    // Not const in civetweb 1.15, though it only reads.
    return absl::StrCat(host_, ":", const_cast<CivetServer&>(server_).getListeningPorts().at(0));
  }

 private:
  MetricsHandler metrics_;
  PageHandler page_;
  CivetServer server_;
  std::string host_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<HttpEndpoint>> HttpEndpoint::Listen(const std::string& address,
                                                                   const RunCollector* collector,
                                                                   service::RunRegistry* runs) {
  try {
    return std::make_unique<CivetEndpoint>(address, collector, runs);
  } catch (const CivetException& exception) {
    return absl::UnavailableError(
        absl::StrCat("--http_address=", address, ": cannot listen: ", exception.what()));
  }
}

}  // namespace thermograd::exporter
