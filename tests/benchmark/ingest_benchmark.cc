// Gradients from the C++ client over loopback into one core of the server, beside the same stream
// into a handler that takes every message and looks at none.

#include <benchmark/benchmark.h>
#include <signal.h>

#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "grpcpp/grpcpp.h"
#include "tests/benchmark/server_process.h"
#include "thermograd/client/client.h"
#include "thermograd/v1/training_analysis_service.grpc.pb.h"

namespace thermograd {
namespace {

constexpr char kEmptyHandler[] = "--empty_handler";
constexpr size_t kParameters = 16;
constexpr size_t kElements = size_t{1} << 20;
constexpr uint64_t kSteps = 8;

// Accepts any run, then discards what comes.
class DiscardReactor final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  DiscardReactor() {
    v1::StreamRunResponse accepted;
    accepted.mutable_run_accepted();
    bool own_buffer = false;
    (void)grpc::SerializationTraits<v1::StreamRunResponse>::Serialize(accepted, &accepted_,
                                                                      &own_buffer);
    StartWrite(&accepted_);
    StartRead(&incoming_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::OK);
    incoming_.Clear();
    StartRead(&incoming_);
  }

  void OnDone() override { delete this; }

 private:
  grpc::ByteBuffer accepted_;
  grpc::ByteBuffer incoming_;
};

class DiscardService final : public v1::TrainingAnalysisService::WithRawCallbackMethod_StreamRun<
                                 v1::TrainingAnalysisService::Service> {
 public:
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* StreamRun(
      grpc::CallbackServerContext* /*context*/) override {
    return new DiscardReactor;
  }
};

int ServeDiscarding() {
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTERM);
  sigprocmask(SIG_BLOCK, &stop, nullptr);
  DiscardService service;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.SetMaxReceiveMessageSize(-1);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) return EXIT_FAILURE;
  std::fprintf(stderr, "{\"grpc\":\"127.0.0.1:%d\"}\n", port);
  int signal = 0;
  sigwait(&stop, &signal);
  server->Shutdown();
  return EXIT_SUCCESS;
}

v1::RunSpec Run() {
  v1::RunSpec spec;
  spec.set_run("benchmark");
  for (size_t i = 0; i < kParameters; ++i) {
    v1::Parameter* parameter = spec.add_parameters();
    parameter->set_id(static_cast<uint32_t>(i));
    parameter->set_name("parameter" + std::to_string(i));
    parameter->add_shape(kElements);
  }
  return spec;
}

// One step of kParameters tensors, whatever the number of microbatches they are parts of.
absl::Status SendStep(client::RunStream& stream, uint64_t step, uint32_t microbatches,
                      const std::vector<float>& gradient) {
  v1::StepBegin begin;
  begin.set_step(step);
  begin.set_learning_rate(0.1);
  begin.set_microbatches(microbatches);
  begin.set_microbatch_size(1);
  absl::Status status = stream.BeginStep(begin);
  for (uint32_t microbatch = 0; microbatch < microbatches; ++microbatch) {
    for (uint32_t id = 0; id < kParameters / microbatches && status.ok(); ++id) {
      status = stream.Send(id, v1::TENSOR_KIND_GRADIENT, absl::MakeConstSpan(gradient), {kElements},
                           microbatch);
    }
  }
  return status.ok() ? stream.EndStep(step) : status;
}

absl::Status StreamRun(const std::shared_ptr<grpc::Channel>& channel, size_t chunk_bytes,
                       uint32_t microbatches, const std::vector<float>& gradient) {
  client::RunStreamOptions options;
  options.chunk_bytes = chunk_bytes;
  const auto stream = client::RunStream::Open(channel, Run(), options);
  if (!stream.ok()) return stream.status();
  for (uint64_t step = 0; step < kSteps; ++step) {
    const absl::Status status = SendStep(**stream, step, microbatches, gradient);
    if (!status.ok()) return status;
  }
  return (*stream)->Finish();
}

void Ingest(benchmark::State& state, const std::vector<std::string>& command,
            uint32_t microbatches) {
  const ServerProcess server(command);
  const auto channel = client::NewChannel(server.address(), grpc::InsecureChannelCredentials());
  const std::vector<float> gradient(kElements, 0.25f);
  const auto chunk_bytes = static_cast<size_t>(state.range(0));
  const double cpu_before = server.CpuSeconds();
  for (auto _ : state) {
    const absl::Status status = StreamRun(channel, chunk_bytes, microbatches, gradient);
    if (!status.ok()) {
      state.SkipWithError(status.ToString().c_str());
      return;
    }
  }
  const auto bytes = static_cast<double>(state.iterations()) *
                     static_cast<double>(kSteps * kParameters * kElements * sizeof(float));
  state.SetBytesProcessed(static_cast<int64_t>(bytes));
  state.counters["server_cpu_s_per_GB"] = (server.CpuSeconds() - cpu_before) / (bytes * 1e-9);
}

}  // namespace
}  // namespace thermograd

int main(int argc, char** argv) {
  using thermograd::kEmptyHandler;
  if (argc == 2 && std::strcmp(argv[1], kEmptyHandler) == 0) return thermograd::ServeDiscarding();
  const std::vector<std::string> empty = {"/proc/self/exe", kEmptyHandler};
  const std::vector<std::string> server = {THERMOGRAD_SERVER, "--listen_address=127.0.0.1:0",
                                           "--http_address=127.0.0.1:0"};
  const struct {
    const char* name;
    const std::vector<std::string>& command;
    uint32_t microbatches;
  } cases[] = {{"empty_handler", empty, 1},
               {"thermograd", server, 1},
               {"thermograd_4_microbatches", server, 4}};
  for (const auto& [name, command, microbatches] : cases) {
    benchmark::RegisterBenchmark(name, thermograd::Ingest, command, microbatches)
        ->Arg(64 << 10)
        ->Arg(1 << 20)
        ->Arg(4 << 20)
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return EXIT_FAILURE;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return EXIT_SUCCESS;
}
