#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "export/http_endpoint.h"
#include "export/run_collector.h"
#include "flags.h"
#include "google/protobuf/stubs/logging.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/health_check_service_interface.h"
#include "kernels/level.h"
#include "kernels/parallel.h"
#include "log.h"
#include "process_resources.h"
#include "security.h"
#include "self_probe.h"
#include "service/training_analysis_service.h"

namespace {

using thermograd::Log;

constexpr int kHousekeepingMilliseconds = 250;
constexpr int kRoundsBetweenReleases = 40;

// Carries what ends the process: 0 for a signal, 1 for a listener that is dead.
int signal_pipe[2];

void End(char why) {
  if (write(signal_pipe[1], &why, 1) != 1) _exit(EXIT_FAILURE);
}

void OnSignal(int /*signal*/) {
  const int saved = errno;
  End(0);
  errno = saved;
}

int Refuse(const absl::Status& status) {
  Log("refused", {{"reason", std::string(status.message())}});
  return EXIT_FAILURE;
}

int Milliseconds(const absl::Flag<uint32_t>& seconds) {
  return static_cast<int>(absl::GetFlag(seconds) * 1000);
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
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, Milliseconds(FLAGS_keepalive_seconds));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                             Milliseconds(FLAGS_keepalive_timeout_seconds));
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS,
                             Milliseconds(FLAGS_handshake_seconds));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10000);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, 16 << 10);
  return builder.BuildAndStart();
}

}  // namespace

int main(int argc, char** argv) {
  thermograd::ParseFlags(argc, argv);
  thermograd::LogGrpc();
  absl::StatusOr<thermograd::service::Limits> limits = thermograd::CheckFlags();
  if (!limits.ok()) return Refuse(limits.status());
  if (absl::Status status = thermograd::RaiseOpenFileLimit(); !status.ok()) return Refuse(status);
  if (limits->max_resident_bytes == 0) {
    limits->max_resident_bytes = thermograd::ControlGroupMemoryBytes();
  }
  // What it would print, the refused stream's status says; strangers must not write to our log.
  google::protobuf::SetLogHandler(nullptr);
  if (pipe(signal_pipe) != 0) return EXIT_FAILURE;
  signal(SIGPIPE, SIG_IGN);
  signal(SIGTERM, OnSignal);
  signal(SIGINT, OnSignal);

  thermograd::service::Admission admission(*limits, absl::GetFlag(FLAGS_soft_memory_ratio));
  thermograd::service::RunRegistry runs(
      std::chrono::seconds(absl::GetFlag(FLAGS_run_grace_seconds)), limits->max_runs, &admission);
  thermograd::service::ProbeBoard probes(limits->max_probe_bytes,
                                         std::chrono::seconds(absl::GetFlag(FLAGS_probe_seconds)),
                                         &admission);
  thermograd::service::ServiceCounters counters;
  const std::string address = absl::GetFlag(FLAGS_listen_address);
  const std::string http_address = absl::GetFlag(FLAGS_http_address);
  const auto security = thermograd::Security::FromFlags(address, http_address, &counters);
  if (!security.ok()) return Refuse(security.status());
  thermograd::service::RankGroups ranks(&counters);
  const thermograd::service::Environment environment{.limits = *limits,
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

  const thermograd::exporter::RunCollector collector(environment);
  const auto http = thermograd::exporter::HttpEndpoint::Listen(http_address, &collector, &runs,
                                                               (*security)->readers(), &counters);
  if (!http.ok()) return Refuse(http.status());
  int port = 0;
  const std::unique_ptr<grpc::Server> server =
      StartServer(&service, address, **security, limits->max_chunk_bytes, &port);
  if (server == nullptr) {
    return Refuse(
        absl::UnavailableError(absl::StrCat("--listen_address=", address, ": cannot listen")));
  }
  server->GetHealthCheckService()->SetServingStatus(
      thermograd::v1::TrainingAnalysisService::service_full_name(), true);
  const std::string host = address.substr(0, address.rfind(':'));
  Log("listening", {{"grpc", absl::StrCat(host, ":", port)},
                    {"http", (*http)->address()},
                    {"simd", thermograd::kernels::SimdLevel()}});

  std::optional<thermograd::SelfProbe> self_probe;
  if (const uint32_t seconds = absl::GetFlag(FLAGS_self_probe_seconds); seconds > 0) {
    self_probe.emplace(host, port, std::chrono::seconds(seconds), [] {
      Log("unresponsive", {{"reason", "the gRPC port accepts no connections any more"}});
      End(1);
    });
  }

  bool was_above_soft_limit = false;
  int rounds = 0;
  pollfd signalled{.fd = signal_pipe[0], .events = POLLIN, .revents = 0};
  do {
    service.ExpireSteps(std::chrono::seconds(absl::GetFlag(FLAGS_rank_seconds)));
    service.ExpireCalls();
    (*security)->Reload();
    const bool is_above_soft_limit = admission.SetResidentBytes(thermograd::ResidentBytes());
    runs.Expire();
    probes.Shed();
    // The allocator keeps what was freed, an arena for each few threads: it would hold the process
    // above the limit for ever, and below at the sum of all that any arena ever held.
    rounds = (rounds + 1) % kRoundsBetweenReleases;
    if (is_above_soft_limit || was_above_soft_limit || rounds == 0) {
      thermograd::ReleaseFreedMemory();
    }
    was_above_soft_limit = is_above_soft_limit;
  } while (poll(&signalled, 1, kHousekeepingMilliseconds) <= 0);
  // A listener that is closed in order does not answer either.
  self_probe.reset();
  char why = 0;
  const bool is_dead = read(signal_pipe[0], &why, 1) == 1 && why != 0;
  // Draining must end even where gRPC is not well: the alarm's signal ends the process.
  constexpr uint32_t kReserveSeconds = 30;
  if (is_dead) alarm(absl::GetFlag(FLAGS_drain_seconds) + kReserveSeconds);
  // A second signal ends the process at once.
  signal(SIGTERM, SIG_DFL);
  signal(SIGINT, SIG_DFL);
  Log("draining",
      {{"streams", absl::StrCat(admission.open(thermograd::service::Admission::Call::kStream))}});
  server->GetHealthCheckService()->SetServingStatus(false);
  service.Drain();
  server->Shutdown(std::chrono::system_clock::now() +
                   std::chrono::seconds(absl::GetFlag(FLAGS_drain_seconds)));
  server->Wait();
  Log("stopped", {{"steps", absl::StrCat(counters.steps.load())}});
  return is_dead ? EXIT_FAILURE : EXIT_SUCCESS;
}
