// Load on a running server, in three groups:
//   ingest   gradients from one stream, beside a handler that looks at nothing and raw TCP
//   streams  the same bytes over more and more streams
//   scaling  server time of a step as parameters, layers, neurons, samples and width grow
//
// The server has the machine's first core to itself. Peers are measured in turn, round by round.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <latch>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_cat.h"
#include "grpcpp/grpcpp.h"
#include "tests/benchmark/discarding_servers.h"
#include "tests/benchmark/measurements.h"
#include "tests/benchmark/server_process.h"
#include "thermograd/client/client.h"

ABSL_FLAG(std::string, output, "/dev/stdout", "file to which measurements are appended");
ABSL_FLAG(size_t, rounds, 5, "how often everything is measured");
ABSL_FLAG(size_t, megabytes, 512, "bytes of one measurement of ingest and of streams, in MiB");
ABSL_FLAG(double, seconds, 0.05, "least server time of one measurement of scaling");
ABSL_FLAG(bool, quick, false, "fewer cases");
ABSL_FLAG(std::string, serve, "", "be a server instead: empty_handler or raw_tcp");
ABSL_FLAG(std::vector<std::string>, send_to, {},
          "send --megabytes to running servers instead, streams by turns, and print the seconds");
ABSL_FLAG(size_t, streams, 16, "streams of --send_to");
ABSL_FLAG(std::string, tls_ca_file, "", "encrypt, and trust this certificate");

namespace thermograd {
namespace {

constexpr size_t kTensorElements = size_t{1} << 20;

[[noreturn]] void Fail(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::abort();
}

void Check(const absl::Status& status) {
  if (!status.ok()) Fail(status.ToString());
}

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::vector<std::string> Thermograd(std::vector<std::string> flags = {}) {
  std::vector<std::string> command = {THERMOGRAD_SERVER, "--listen_address=127.0.0.1:0",
                                      "--http_address=127.0.0.1:0"};
  command.insert(command.end(), flags.begin(), flags.end());
  return command;
}

// A connection of its own: channels of equal arguments share one by default.
std::shared_ptr<grpc::Channel> NewConnection(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetMaxReceiveMessageSize(-1);
  if (absl::GetFlag(FLAGS_tls_ca_file).empty()) {
    return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
  }
  const auto file = client::MappedFile::Open(absl::GetFlag(FLAGS_tls_ca_file));
  Check(file.status());
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = std::string(file->bytes());
  return grpc::CreateCustomChannel(address, grpc::SslCredentials(options), arguments);
}

std::unique_ptr<client::RunStream> Open(const std::string& address, const v1::RunSpec& spec,
                                        size_t chunk_bytes = size_t{1} << 20) {
  client::RunStreamOptions options;
  options.chunk_bytes = chunk_bytes;
  options.accept_timeout = absl::Minutes(1);
  auto stream = client::RunStream::Open(NewConnection(address), spec, options);
  Check(stream.status());
  return *std::move(stream);
}

v1::Parameter* AddParameter(v1::RunSpec* spec, std::vector<uint64_t> shape) {
  const auto id = static_cast<uint32_t>(spec->parameters_size());
  v1::Parameter* parameter = spec->add_parameters();
  parameter->set_id(id);
  parameter->set_name(absl::StrCat("parameter", id));
  parameter->mutable_shape()->Assign(shape.begin(), shape.end());
  return parameter;
}

v1::StepBegin Begin(uint64_t step, uint32_t microbatches) {
  v1::StepBegin begin;
  begin.set_step(step);
  begin.set_learning_rate(0.1);
  begin.set_microbatches(microbatches);
  begin.set_microbatch_size(1);
  return begin;
}

client::TensorView View(const std::string& bytes, v1::DataType type, std::vector<uint64_t> shape) {
  uint64_t elements = 1;
  for (const uint64_t extent : shape) elements *= extent;
  return {type, std::move(shape),
          absl::string_view(bytes).substr(0, elements * client::ElementBytes(type))};
}

// What a measurement of throughput gives, round by round.
struct Throughput {
  std::vector<double> gigabytes_per_second;
  std::vector<double> cpu_seconds_per_gigabyte;

  void Add(const ServerProcess& server, size_t bytes, const std::function<void()>& send) {
    const double cpu = server.CpuSeconds();
    const double begin = Seconds();
    send();
    const double gigabytes = 1e-9 * static_cast<double>(bytes);
    gigabytes_per_second.push_back(gigabytes / (Seconds() - begin));
    cpu_seconds_per_gigabyte.push_back((server.CpuSeconds() - cpu) / gigabytes);
  }

  Measurement Speed(Measurement of) const {
    of.unit = "GB/s";
    of.repetitions = gigabytes_per_second;
    return of;
  }
  Measurement Cost(Measurement of) const {
    of.unit = "server CPU s/GB";
    of.repetitions = cpu_seconds_per_gigabyte;
    return of;
  }
};

// --- ingest -------------------------------------------------------------------------------------

// Steps of 16 tensors' bytes, whatever the number of microbatches they are parts of.
void SendGradients(const std::string& address, size_t chunk_bytes, v1::DataType type,
                   uint32_t microbatches, size_t total_bytes, const std::string& tensor) {
  constexpr uint32_t kTensors = 16;
  const uint32_t parameters = kTensors / microbatches;
  v1::RunSpec spec;
  spec.set_run("ingest");
  for (uint32_t id = 0; id < parameters; ++id) AddParameter(&spec, {kTensorElements});
  const client::TensorView view = View(tensor, type, {kTensorElements});
  const size_t steps = total_bytes / (kTensors * view.bytes.size());
  const auto stream = Open(address, spec, chunk_bytes);
  for (uint64_t step = 0; step < steps; ++step) {
    Check(stream->BeginStep(Begin(step, microbatches)));
    for (uint32_t microbatch = 0; microbatch < microbatches; ++microbatch) {
      for (uint32_t id = 0; id < parameters; ++id) {
        Check(stream->Send(id, v1::TENSOR_KIND_GRADIENT, view, microbatch));
      }
    }
    Check(stream->EndStep(step));
  }
  Check(stream->Finish());
}

void SendRaw(const std::string& address, size_t chunk_bytes, size_t total_bytes) {
  const int connection = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in server{};
  server.sin_family = AF_INET;
  server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  server.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.find(':') + 1))));
  if (connect(connection, reinterpret_cast<const sockaddr*>(&server), sizeof(server)) != 0) {
    Fail("connect: " + std::string(std::strerror(errno)));
  }
  const std::vector<char> chunk(chunk_bytes);
  for (size_t sent = 0; sent < total_bytes; sent += chunk_bytes) {
    for (size_t part = 0; part < chunk_bytes;) {
      const ssize_t written =
          send(connection, chunk.data() + part, chunk_bytes - part, MSG_NOSIGNAL);
      if (written < 0) Fail("send: " + std::string(std::strerror(errno)));
      part += static_cast<size_t>(written);
    }
  }
  // The other side closes when it has read everything.
  shutdown(connection, SHUT_WR);
  char end;
  if (read(connection, &end, 1) != 0) Fail("raw TCP: unexpected answer");
  close(connection);
}

void MeasureIngest(MeasurementFile* file) {
  const size_t rounds = absl::GetFlag(FLAGS_rounds);
  const size_t bytes = std::max<size_t>(absl::GetFlag(FLAGS_megabytes), 64) << 20;
  const ServerProcess raw({"/proc/self/exe", "--serve=raw_tcp"});
  const ServerProcess empty({"/proc/self/exe", "--serve=empty_handler"});
  const ServerProcess thermograd(Thermograd());
  const std::string tensor(kTensorElements * sizeof(float), '>');
  std::vector<size_t> chunks = {size_t{64} << 10, size_t{256} << 10, size_t{1} << 20,
                                size_t{4} << 20};
  if (absl::GetFlag(FLAGS_quick)) chunks = {chunks.front(), chunks[2]};
  for (const auto& [type, type_name] :
       {std::pair(v1::DATA_TYPE_FP32, "fp32"), std::pair(v1::DATA_TYPE_BF16, "bf16")}) {
    for (const size_t chunk : chunks) {
      const struct {
        const char* name;
        const ServerProcess& server;
        uint32_t microbatches;  // 0: not gRPC
      } peers[] = {{"raw TCP", raw, 0},
                   {"empty handler", empty, 1},
                   {"thermograd", thermograd, 1},
                   {"thermograd, 4 microbatches", thermograd, 4}};
      std::map<std::string, Throughput> found;
      for (size_t round = 0; round < rounds; ++round) {
        for (const auto& [name, server, microbatches] : peers) {
          const std::string& address = server.address();
          found[name].Add(server, bytes, [&, type = type, microbatches = microbatches] {
            if (microbatches == 0) return SendRaw(address, chunk, bytes);
            SendGradients(address, chunk, type, microbatches, bytes, tensor);
          });
        }
      }
      const auto named = [&, type_name = type_name](const char* peer) {
        return Measurement{.test_case = absl::StrCat("C++ client, ", type_name, ", chunks of ",
                                                     chunk >> 10, " KiB"),
                           .peer = peer,
                           .series = absl::StrCat("C++ client, ", type_name),
                           .x = static_cast<double>(chunk),
                           .x_name = "bytes of a chunk"};
      };
      for (const auto& peer : peers) {
        const Throughput& own = found[peer.name];
        const Measurement of = named(peer.name);
        if (peer.microbatches == 0) {
          file->Write(own.Speed(of));
          file->Write(own.Cost(of));
          continue;
        }
        for (const char* reference : {"raw TCP", "empty handler"}) {
          if (reference == of.peer) continue;
          const Throughput& other = found[reference];
          file->Write(own.Speed(of), other.Speed(named(reference)));
          file->Write(own.Cost(of), other.Cost(named(reference)));
        }
      }
    }
  }
}

// --- streams ------------------------------------------------------------------------------------

using Send = std::function<void()>;

// All streams together send `bytes`, in steps of two microbatches of 1 MiB each, to the addresses
// by turns. `measure` gets the exact number of bytes and must call what sends them.
void SendFromStreams(const std::vector<std::string>& addresses, size_t streams, size_t bytes,
                     const std::function<void(size_t, const Send&)>& measure) {
  constexpr uint64_t kElements = uint64_t{1} << 18;
  constexpr uint32_t kMicrobatches = 2;
  const std::string tensor(kElements * sizeof(float), '>');
  const client::TensorView view = View(tensor, v1::DATA_TYPE_FP32, {kElements});
  const size_t step_bytes = kMicrobatches * tensor.size();
  const size_t steps = std::max<size_t>(bytes / (streams * step_bytes), 1);
  std::vector<std::unique_ptr<client::RunStream>> opened;
  for (size_t i = 0; i < streams; ++i) {
    v1::RunSpec spec;
    spec.set_run(absl::StrCat("run", i));
    AddParameter(&spec, {kElements});
    opened.push_back(Open(addresses[i % addresses.size()], spec));
  }
  std::latch start(1);
  std::vector<std::thread> threads;
  threads.reserve(opened.size());
  for (const auto& stream : opened) {
    threads.emplace_back([&stream = *stream, &start, &view, steps] {
      start.wait();
      for (uint64_t step = 0; step < steps; ++step) {
        Check(stream.BeginStep(Begin(step, kMicrobatches)));
        for (uint32_t microbatch = 0; microbatch < kMicrobatches; ++microbatch) {
          Check(stream.Send(0, v1::TENSOR_KIND_GRADIENT, view, microbatch));
        }
        Check(stream.EndStep(step));
      }
      Check(stream.Finish());
    });
  }
  measure(streams * steps * step_bytes, [&] {
    start.count_down();
    for (std::thread& thread : threads) thread.join();
  });
}

void MeasureStreams(MeasurementFile* file) {
  const size_t bytes = absl::GetFlag(FLAGS_megabytes) << 20;
  std::vector<size_t> counts = {1, 8, 64, 512};
  if (absl::GetFlag(FLAGS_quick)) counts = {1, 8, 64};
  std::map<size_t, Throughput> found;
  std::map<size_t, std::vector<double>> memory;
  for (size_t round = 0; round < absl::GetFlag(FLAGS_rounds); ++round) {
    for (const size_t streams : counts) {
      // A new server for each, because its peak memory is asked for.
      const ServerProcess server(Thermograd({"--max_streams=1024"}));
      SendFromStreams({server.address()}, streams, bytes, [&](size_t sent, const Send& send) {
        found[streams].Add(server, sent, send);
      });
      memory[streams].push_back(1e-6 * server.PeakBytes());
    }
  }
  const auto named = [](size_t streams) {
    return Measurement{.test_case = absl::StrCat("streams = ", streams),
                       .peer = streams == 1 ? "1 stream" : "thermograd",
                       .series = "streams",
                       .x = static_cast<double>(streams),
                       .x_name = "streams"};
  };
  for (const size_t streams : counts) {
    const Measurement of = named(streams);
    Measurement peak = of;
    peak.unit = "MB of server memory at its peak";
    peak.repetitions = memory[streams];
    const Throughput& own = found[streams];
    if (streams == counts.front()) {
      file->Write(own.Speed(of));
      file->Write(own.Cost(of));
    } else {
      const Throughput& one = found[counts.front()];
      file->Write(own.Speed(of), one.Speed(named(counts.front())));
      file->Write(own.Cost(of), one.Cost(named(counts.front())));
    }
    file->Write(peak);
  }
}

int SendToRunningServers(const std::vector<std::string>& addresses) {
  SendFromStreams(addresses, absl::GetFlag(FLAGS_streams), absl::GetFlag(FLAGS_megabytes) << 20,
                  [](size_t sent, const Send& send) {
                    const double begin = Seconds();
                    send();
                    std::printf("{\"bytes\": %zu, \"seconds\": %.9f}\n", sent, Seconds() - begin);
                  });
  return EXIT_SUCCESS;
}

// --- scaling ------------------------------------------------------------------------------------

// A run, and how one of its steps is filled.
struct Job {
  v1::RunSpec spec;
  std::function<void(client::RunStream*)> send;
};

// `count` gradients of as many elements.
Job Gradients(size_t count, uint64_t elements) {
  Job job;
  for (size_t id = 0; id < count; ++id) AddParameter(&job.spec, {elements});
  job.send = [count, elements,
              bytes = std::string(elements * sizeof(float), '>')](client::RunStream* stream) {
    for (uint32_t id = 0; id < count; ++id) {
      Check(
          stream->Send(id, v1::TENSOR_KIND_GRADIENT, View(bytes, v1::DATA_TYPE_FP32, {elements})));
    }
  };
  return job;
}

// Weights and gradients of a hidden layer of `neurons` between two of 64.
Job Neurons(uint64_t neurons) {
  constexpr uint64_t kOutside = 64;
  Job job;
  AddParameter(&job.spec, {neurons, kOutside});
  AddParameter(&job.spec, {kOutside, neurons});
  v1::Symmetry* symmetry = job.spec.add_symmetries();
  symmetry->set_name("rescaling");
  symmetry->mutable_neuron_rescaling()->mutable_incoming()->set_parameter_id(0);
  symmetry->mutable_neuron_rescaling()->mutable_outgoing()->set_parameter_id(1);
  job.send = [neurons, bytes = std::string(neurons * kOutside * sizeof(float), '>')](
                 client::RunStream* stream) {
    const client::TensorView incoming = View(bytes, v1::DATA_TYPE_FP32, {neurons, kOutside});
    const client::TensorView outgoing = View(bytes, v1::DATA_TYPE_FP32, {kOutside, neurons});
    for (const v1::TensorKind kind : {v1::TENSOR_KIND_WEIGHT, v1::TENSOR_KIND_GRADIENT}) {
      Check(stream->Send(0, kind, incoming));
      Check(stream->Send(1, kind, outgoing));
    }
  };
  return job;
}

// Activations of which every pair of layers is compared.
Job Activations(size_t layers, uint64_t samples, uint64_t width) {
  Job job;
  for (size_t id = 0; id < layers; ++id) {
    v1::Layer* layer = job.spec.add_layers();
    layer->set_id(static_cast<uint32_t>(id));
    layer->set_name(absl::StrCat("layer", id));
    layer->set_width(width);
  }
  std::vector<float> elements(samples * width + layers);
  uint32_t state = 1;
  for (float& element : elements) {
    state = state * 1664525 + 1013904223;
    element = static_cast<float>(state >> 8) * 0x1p-23f - 1;
  }
  job.send = [=, elements = std::move(elements)](client::RunStream* stream) {
    for (size_t id = 0; id < layers; ++id) {
      Check(stream->Send(static_cast<uint32_t>(id), v1::TENSOR_KIND_ACTIVATION,
                         absl::MakeConstSpan(elements).subspan(id, samples * width),
                         {samples, width}));
    }
  };
  return job;
}

// A live run whose steps are timed.
class Runner {
 public:
  Runner(const ServerProcess& server, const std::string& name, Job job)
      : server_(server), job_(std::move(job)) {
    job_.spec.set_run(name);
    // Singular values of weights come once in many steps: they would not be of one step.
    job_.spec.mutable_reporting()->set_spectrum_every_steps(UINT32_MAX);
    stream_ = Open(server.address(), job_.spec);
    // The first step grows buffers, and computes what is computed rarely.
    Step();
    // As many steps as it takes for the clock to tell.
    while (static_cast<double>(steps_) * Measure() < absl::GetFlag(FLAGS_seconds)) steps_ *= 2;
  }

  // Server seconds of a step.
  double Measure() {
    const double before = server_.CpuSeconds();
    for (uint64_t i = 0; i < steps_; ++i) Step();
    return (server_.CpuSeconds() - before) / static_cast<double>(steps_);
  }

 private:
  void Step() {
    Check(stream_->BeginStep(Begin(step_, 1)));
    job_.send(stream_.get());
    Check(stream_->EndStep(step_++));
    if (!stream_->NextReport(absl::Minutes(5))) Fail(stream_->Finish().ToString());
  }

  const ServerProcess& server_;
  Job job_;
  std::unique_ptr<client::RunStream> stream_;
  uint64_t step_ = 0;
  uint64_t steps_ = 1;  // of a measurement
};

void MeasureScaling(MeasurementFile* file) {
  const bool quick = absl::GetFlag(FLAGS_quick);
  const struct {
    const char* what;
    const char* constant;
    std::vector<size_t> sizes;
    std::function<Job(size_t)> job;
  } axes[] = {
      {"parameters",
       "256 elements each",
       {64, 128, 256, 512, 1024},
       [](size_t size) { return Gradients(size, 256); }},
      {"elements",
       "4 parameters",
       {1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24},
       [](size_t size) { return Gradients(4, size / 4); }},
      {"layers",
       "128 samples, width 64",
       {4, 8, 16, 32, 64},
       [](size_t size) { return Activations(size, 128, 64); }},
      {"neurons",
       "64 inputs, 64 outputs",
       {256, 512, 1024, 2048, 4096},
       [](size_t size) { return Neurons(size); }},
      {"samples",
       "2 layers, width 256",
       {128, 256, 512, 1024, 2048},
       [](size_t size) { return Activations(2, size, 256); }},
      {"width",
       "2 layers, 256 samples",
       {256, 512, 1024, 2048, 4096},
       [](size_t size) { return Activations(2, 256, size); }},
  };
  const ServerProcess server(Thermograd());
  for (const auto& [what, constant, all_sizes, job] : axes) {
    std::vector<size_t> sizes = all_sizes;
    if (quick) sizes.pop_back();
    std::vector<Runner> runners;
    std::vector<double> x;
    for (const size_t size : sizes) {
      runners.emplace_back(server, absl::StrCat(what, size), job(size));
      x.push_back(static_cast<double>(size));
    }
    std::vector<Measurement> found(sizes.size());
    const std::string all = absl::StrCat(what, " (", constant, ")");
    Measurement exponent{
        .test_case = all, .peer = "thermograd", .unit = "exponent of growth over all sizes"};
    Measurement last_exponent{.test_case = all,
                              .peer = "thermograd",
                              .unit = "exponent of growth between the largest two"};
    for (size_t round = 0; round < absl::GetFlag(FLAGS_rounds); ++round) {
      std::vector<double> y;
      for (size_t i = 0; i < sizes.size(); ++i) {
        y.push_back(runners[i].Measure());
        found[i].repetitions.push_back(1e3 * y.back());
      }
      exponent.repetitions.push_back(Exponent(x, y));
      last_exponent.repetitions.push_back(Exponent({x.end() - 2, x.end()}, {y.end() - 2, y.end()}));
    }
    for (size_t i = 0; i < sizes.size(); ++i) {
      found[i].test_case = absl::StrCat(what, " = ", sizes[i], " (", constant, ")");
      found[i].peer = "thermograd";
      found[i].unit = "server CPU ms/step";
      found[i].series = what;
      found[i].x = x[i];
      found[i].x_name = "size";
      file->Write(found[i]);
    }
    file->Write(exponent);
    file->Write(last_exponent);
  }
}

int Main(const std::vector<char*>& groups) {
  constexpr struct {
    const char* name;
    void (*measure)(MeasurementFile*);
  } kGroups[] = {
      {"ingest", MeasureIngest}, {"streams", MeasureStreams}, {"scaling", MeasureScaling}};
  LeaveFirstCore();
  for (const char* wanted : groups) {
    bool known = false;
    for (const auto& [name, measure] : kGroups) {
      if (std::strcmp(name, wanted) != 0) continue;
      known = true;
      MeasurementFile file(absl::GetFlag(FLAGS_output), name);
      measure(&file);
    }
    if (!known) {
      std::fprintf(stderr, "no such group: %s\n", wanted);
      return EXIT_FAILURE;
    }
  }
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace thermograd

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("stream_load [flags] (ingest|streams|scaling)...");
  std::vector<char*> groups = absl::ParseCommandLine(argc, argv);
  groups.erase(groups.begin());
  const std::string serve = absl::GetFlag(FLAGS_serve);
  if (serve == "empty_handler") return thermograd::ServeEmptyHandler();
  if (serve == "raw_tcp") return thermograd::ServeRawTcp();
  const std::vector<std::string> addresses = absl::GetFlag(FLAGS_send_to);
  if (!addresses.empty()) return thermograd::SendToRunningServers(addresses);
  return thermograd::Main(groups);
}
