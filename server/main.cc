#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/flags/usage_config.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "export/http_endpoint.h"
#include "export/run_collector.h"
#include "google/protobuf/stubs/logging.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/health_check_service_interface.h"
#include "kernels/level.h"
#include "kernels/parallel.h"
#include "log.h"
#include "security.h"
#include "service/training_analysis_service.h"

ABSL_FLAG(std::string, listen_address, "127.0.0.1:50051",
          "Where trainers connect (host:port; port 0: any)");
ABSL_FLAG(std::string, http_address, "127.0.0.1:9464",
          "Where Prometheus reads /metrics (host:port; port 0: any)");
ABSL_FLAG(uint32_t, default_window_steps, 64, "Steps of a window when a run declares none");
ABSL_FLAG(uint32_t, max_window_steps, 4096, "Longest window a run may declare, in steps");
ABSL_FLAG(uint64_t, max_chunk_bytes, uint64_t{4} << 20, "Largest TensorChunk.data");
ABSL_FLAG(uint64_t, max_samples, 2048, "Most samples of one activation matrix");
ABSL_FLAG(uint64_t, max_stream_bytes, uint64_t{2} << 30, "Memory of one stream's open step");
ABSL_FLAG(uint64_t, max_memory_bytes, uint64_t{8} << 30, "Memory of all streams' open steps");
ABSL_FLAG(uint64_t, max_probe_bytes, uint64_t{1} << 30, "Memory of the probe board");
ABSL_FLAG(uint64_t, max_streams, 256, "Streams open at a time");
ABSL_FLAG(uint64_t, max_series, 20000, "Prometheus series of all runs together");
ABSL_FLAG(uint32_t, run_grace_seconds, 900, "How long an ended run's series stay");
ABSL_FLAG(uint32_t, probe_seconds, 600, "How long a probe set's representations stay comparable");
ABSL_FLAG(uint32_t, rank_seconds, 30, "How long a step waits for the other ranks of its run");
ABSL_FLAG(uint32_t, drain_seconds, 30, "After SIGTERM: time for open steps to finish");
ABSL_FLAG(uint32_t, workers, 0,
          "Long tasks (representations, large spectra) at a time; 0: one a core");

namespace {

using thermograd::Log;

constexpr int kHousekeepingMilliseconds = 1000;

int signal_pipe[2];

void OnSignal(int /*signal*/) {
  const int saved = errno;
  const char byte = 0;
  if (write(signal_pipe[1], &byte, 1) != 1) _exit(1);
  errno = saved;
}

std::unique_ptr<grpc::Server> StartServer(grpc::Service* service, const std::string& address,
                                          const thermograd::Security& security,
                                          uint64_t max_chunk_bytes, int* port) {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  security.SetUpReflection(&builder);
  builder.AddListeningPort(address, security.MakeServerCredentials(), port);
  builder.RegisterService(service);
  builder.SetMaxReceiveMessageSize(static_cast<int>(max_chunk_bytes + (64 << 10)));
  // A compressed message is inflated without bound before its size is checked.
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  // Two servers on one port would share its traffic silently.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 30000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10000);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, 16 << 10);
  return builder.BuildAndStart();
}

}  // namespace

int main(int argc, char** argv) {
  absl::FlagsUsageConfig usage;
  usage.contains_help_flags = [](absl::string_view file) {
    return absl::EndsWith(file, "server/main.cc") || absl::EndsWith(file, "server/security.cc");
  };
  usage.version_string = [] { return std::string("thermograd-server " THERMOGRAD_VERSION "\n"); };
  absl::SetFlagsUsageConfig(usage);
  absl::SetProgramUsageMessage("Live thermodynamics of neural-network training, over gRPC.");
  absl::ParseCommandLine(argc, argv);
  thermograd::LogGrpc();
  if (absl::GetFlag(FLAGS_max_chunk_bytes) > (uint64_t{1} << 30)) {
    Log("refused", {{"reason", "--max_chunk_bytes: at most 1 GiB"}});
    return EXIT_FAILURE;
  }
  // What it would print, the refused stream's status says; strangers must not write to our log.
  google::protobuf::SetLogHandler(nullptr);
  if (pipe(signal_pipe) != 0) return EXIT_FAILURE;
  signal(SIGPIPE, SIG_IGN);
  signal(SIGTERM, OnSignal);
  signal(SIGINT, OnSignal);

  thermograd::service::Limits limits;
  limits.default_window_steps = absl::GetFlag(FLAGS_default_window_steps);
  limits.max_window_steps = absl::GetFlag(FLAGS_max_window_steps);
  limits.max_chunk_bytes = absl::GetFlag(FLAGS_max_chunk_bytes);
  limits.max_samples = absl::GetFlag(FLAGS_max_samples);
  limits.max_stream_bytes = absl::GetFlag(FLAGS_max_stream_bytes);
  thermograd::service::Admission admission(absl::GetFlag(FLAGS_max_streams),
                                           absl::GetFlag(FLAGS_max_memory_bytes));
  thermograd::service::RunRegistry runs(
      std::chrono::seconds(absl::GetFlag(FLAGS_run_grace_seconds)));
  thermograd::service::ProbeBoard probes(absl::GetFlag(FLAGS_max_probe_bytes),
                                         std::chrono::seconds(absl::GetFlag(FLAGS_probe_seconds)));
  thermograd::service::ServiceCounters counters;
  const std::string address = absl::GetFlag(FLAGS_listen_address);
  const std::string http_address = absl::GetFlag(FLAGS_http_address);
  const auto security = thermograd::Security::FromFlags(address, http_address, &counters);
  if (!security.ok()) {
    Log("refused", {{"reason", std::string(security.status().message())}});
    return EXIT_FAILURE;
  }
  thermograd::service::RankGroups ranks(&counters);
  const thermograd::service::Environment environment{.limits = limits,
                                                     .admission = &admission,
                                                     .runs = &runs,
                                                     .ranks = &ranks,
                                                     .probes = &probes,
                                                     .counters = &counters,
                                                     .tokens = (*security)->tokens()};
  const uint32_t threads = absl::GetFlag(FLAGS_workers);
  thermograd::kernels::SetMaxThreads(threads);
  thermograd::service::WorkerPool workers(
      threads > 0 ? threads : std::max(1u, std::thread::hardware_concurrency()));
  thermograd::service::TrainingAnalysisService service(environment, &workers);

  const thermograd::exporter::RunCollector collector(environment, absl::GetFlag(FLAGS_max_series));
  const auto http = thermograd::exporter::HttpEndpoint::Listen(http_address, &collector, &runs,
                                                               (*security)->readers(), &counters);
  if (!http.ok()) {
    Log("refused", {{"reason", std::string(http.status().message())}});
    return EXIT_FAILURE;
  }
  int port = 0;
  const std::unique_ptr<grpc::Server> server =
      StartServer(&service, address, **security, limits.max_chunk_bytes, &port);
  if (server == nullptr) {
    Log("refused", {{"reason", absl::StrCat("--listen_address=", address, ": cannot listen")}});
    return EXIT_FAILURE;
  }
  server->GetHealthCheckService()->SetServingStatus(
      thermograd::v1::TrainingAnalysisService::service_full_name(), true);
  Log("listening", {{"grpc", absl::StrCat(address.substr(0, address.rfind(':')), ":", port)},
                    {"http", (*http)->address()},
                    {"simd", thermograd::kernels::SimdLevel()}});

  pollfd signalled{.fd = signal_pipe[0], .events = POLLIN, .revents = 0};
  while (poll(&signalled, 1, kHousekeepingMilliseconds) <= 0) {
    service.ExpireSteps(std::chrono::seconds(absl::GetFlag(FLAGS_rank_seconds)));
    (*security)->Reload();
  }
  // A second signal ends the process at once.
  signal(SIGTERM, SIG_DFL);
  signal(SIGINT, SIG_DFL);
  Log("draining", {{"streams", absl::StrCat(admission.streams())}});
  server->GetHealthCheckService()->SetServingStatus(false);
  service.Drain();
  server->Shutdown(std::chrono::system_clock::now() +
                   std::chrono::seconds(absl::GetFlag(FLAGS_drain_seconds)));
  server->Wait();
  Log("stopped", {{"steps", absl::StrCat(counters.steps.load())}});
  return EXIT_SUCCESS;
}
