#include "export/http_endpoint.h"

#include <atomic>
#include <chrono>
#include <thread>
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

// Who may read, and what becomes of those who may not.
class Gate {
 public:
  Gate(const service::AccessFile* readers, service::ServiceCounters* counters)
      : readers_(readers), counters_(counters) {}

  // False if the request was answered: it may not be read what is behind.
  bool Admits(mg_connection* connection) const {
    if (readers_ == nullptr) return true;
    const char* authorization = mg_get_header(connection, "Authorization");
    if (authorization != nullptr && service::AdmitsBasic(*readers_, authorization)) return true;
    ++counters_->rejected[static_cast<size_t>(service::Rejection::kUnauthenticated)];
    Respond(connection,
            "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"Thermograd\", charset=\"UTF-8\"",
            "text/plain; charset=utf-8", "Name and password, please.\n");
    return false;
  }

 private:
  const service::AccessFile* const readers_;
  service::ServiceCounters* const counters_;
};

class MetricsHandler final : public CivetHandler {
 public:
  MetricsHandler(const Gate& gate, const RunCollector* collector)
      : gate_(gate), collector_(collector) {}

  bool handleGet(CivetServer* /*server*/, mg_connection* connection) override {
    if (!gate_.Admits(connection)) return true;
    Respond(connection, "200 OK", "text/plain; version=0.0.4; charset=utf-8",
            prometheus::TextSerializer().Serialize(collector_->Collect()));
    return true;
  }

 private:
  const Gate gate_;
  const RunCollector* collector_;
};

class PageHandler final : public CivetHandler {
 public:
  PageHandler(const Gate& gate, service::RunRegistry* runs) : gate_(gate), runs_(runs) {}

  bool handleGet(CivetServer* /*server*/, mg_connection* connection) override {
    if (!gate_.Admits(connection)) return true;
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
      absl::StrAppend(
          &rows, "<tr><td>",
          EscapeHtml(run.run.tenant.empty() ? run.run.name
                                            : absl::StrCat(run.run.tenant, ": ", run.run.name)),
          "<td>", run.rank, " of ", run.world_size, "<td>", run.live ? "live" : "ended", "<td>",
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
  const Gate gate_;
  service::RunRegistry* runs_;
};

class CivetEndpoint final : public HttpEndpoint {
 public:
  CivetEndpoint(const std::string& address, const RunCollector* collector,
                service::RunRegistry* runs, const Gate& gate)
      : metrics_(gate, collector),
        page_(gate, runs),
        // A slow reader holds a thread: several, and a deadline for requests.
        server_(std::vector<std::string>{"listening_ports", address, "num_threads", "4",
                                         "request_timeout_ms", "5000"}),
        host_(address.substr(0, address.rfind(':'))) {
    server_.addHandler("/metrics", metrics_);
    server_.addHandler("/", page_);
  }

  ~CivetEndpoint() override {
    // Its listener looks every two seconds whether it is to stop, unless somebody comes.
    const int port = server_.getListeningPorts().at(0);
    std::atomic<bool> is_stopped = false;
    std::thread visitor([&] {
      while (!is_stopped) {
        char error[128];
        mg_connection* visit = mg_connect_client(host_.c_str(), port, 0, error, sizeof(error));
        if (visit != nullptr) mg_close_connection(visit);
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
    });
    server_.close();
    is_stopped = true;
    visitor.join();
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

absl::StatusOr<std::unique_ptr<HttpEndpoint>> HttpEndpoint::Listen(
    const std::string& address, const RunCollector* collector, service::RunRegistry* runs,
    const service::AccessFile* readers, service::ServiceCounters* counters) {
  try {
    return std::make_unique<CivetEndpoint>(address, collector, runs, Gate(readers, counters));
  } catch (const CivetException& exception) {
    return absl::UnavailableError(
        absl::StrCat("--http_address=", address, ": cannot listen: ", exception.what()));
  }
}

}  // namespace thermograd::exporter
