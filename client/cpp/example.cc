// Streams a short run to a Thermograd server, prints its figures, and compares two representations.
//
// usage: cpp_example [ADDRESS]

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "grpcpp/security/credentials.h"
#include "thermograd/client/client.h"

namespace {

namespace client = thermograd::client;
namespace v1 = thermograd::v1;

// Ids are the client's to choose.
constexpr uint32_t kWeight = 1;
constexpr uint32_t kHidden = 2;
constexpr uint32_t kOutput = 3;
// Of one microbatch.
constexpr uint64_t kSamples = 8;
constexpr uint32_t kMicrobatches = 2;

// Numbers that stand for a trainer's, row-major.
std::vector<float> Tensor(size_t rows, size_t columns, double phase) {
  std::vector<float> elements(rows * columns);
  for (size_t i = 0; i < elements.size(); ++i) {
    elements[i] = static_cast<float>(std::sin(phase + static_cast<double>(i * i)));
  }
  return elements;
}

v1::RunSpec Declaration() {
  v1::RunSpec spec;
  spec.set_run("cpp-example");
  spec.mutable_optimizer()->set_kind(v1::OPTIMIZER_KIND_SGD);
  v1::Parameter& weight = *spec.add_parameters();
  weight.set_id(kWeight);
  weight.set_name("weight");
  weight.add_shape(4);
  weight.add_shape(3);
  v1::Layer& hidden = *spec.add_layers();
  hidden.set_id(kHidden);
  hidden.set_name("hidden");
  hidden.set_width(4);
  v1::Layer& output = *spec.add_layers();
  output.set_id(kOutput);
  output.set_name("output");
  output.set_width(2);
  return spec;
}

template <typename Figures>
void PrintFigures(const Figures& figures) {
  for (const v1::MetricValue& figure : figures) {
    std::cout << "  " << figure.name();
    for (const v1::Label& label : figure.labels()) {
      std::cout << " " << label.name() << "=" << label.value();
    }
    std::cout << " " << figure.value() << "\n";
  }
}

absl::Status SendStep(client::RunStream& stream, uint64_t step) {
  v1::StepBegin begin;
  begin.set_step(step);
  begin.set_loss(1.0 / static_cast<double>(step));
  begin.set_learning_rate(0.1);
  begin.set_microbatch_size(kSamples);
  begin.set_microbatches(kMicrobatches);
  if (absl::Status status = stream.BeginStep(begin); !status.ok()) return status;
  for (uint32_t microbatch = 0; microbatch < kMicrobatches; ++microbatch) {
    const double phase = static_cast<double>(10 * step + microbatch);
    const std::vector<float> gradient = Tensor(4, 3, phase);
    absl::Status status = stream.Send(kWeight, v1::TENSOR_KIND_GRADIENT,
                                      absl::MakeConstSpan(gradient), {4, 3}, microbatch);
    if (!status.ok()) return status;
    const std::vector<float> hidden = Tensor(kSamples, 4, phase);
    status = stream.Send(kHidden, v1::TENSOR_KIND_ACTIVATION, absl::MakeConstSpan(hidden),
                         {kSamples, 4}, microbatch);
    if (!status.ok()) return status;
    const std::vector<float> output = Tensor(kSamples, 2, phase);
    status = stream.Send(kOutput, v1::TENSOR_KIND_ACTIVATION, absl::MakeConstSpan(output),
                         {kSamples, 2}, microbatch);
    if (!status.ok()) return status;
  }
  return stream.EndStep(step);
}

absl::Status StreamRun(const std::shared_ptr<grpc::Channel>& channel) {
  const absl::StatusOr<std::unique_ptr<client::RunStream>> stream =
      client::RunStream::Open(channel, Declaration());
  if (!stream.ok()) return stream.status();
  for (uint64_t step = 1; step <= 3; ++step) {
    if (absl::Status status = SendStep(**stream, step); !status.ok()) return status;
    // A trainer would rather set RunStreamOptions.on_report, and go on.
    const std::optional<v1::StepReport> report = (*stream)->NextReport();
    if (!report) break;
    std::cout << "step " << step << "\n";
    PrintFigures(report->metrics());
  }
  return (*stream)->Finish();
}

absl::Status Compare(const std::shared_ptr<grpc::Channel>& channel) {
  const std::vector<float> x = Tensor(16, 4, 1);
  const std::vector<float> y = Tensor(16, 4, 2);
  const absl::StatusOr<v1::CompareRepresentationsResponse> similarities =
      client::Compare(channel, {client::ViewOf(absl::MakeConstSpan(x), {16, 4}), ""},
                      {client::ViewOf(absl::MakeConstSpan(y), {16, 4}), ""});
  if (!similarities.ok()) return similarities.status();
  std::cout << "comparison\n";
  PrintFigures(similarities->metrics());
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  std::cout.precision(17);
  const std::string address = argc > 1 ? argv[1] : "127.0.0.1:50051";
  const auto channel = client::NewChannel(address, grpc::InsecureChannelCredentials());
  absl::Status status = StreamRun(channel);
  if (status.ok()) status = Compare(channel);
  if (status.ok()) return 0;
  std::cerr << status << "\n";
  return 1;
}
