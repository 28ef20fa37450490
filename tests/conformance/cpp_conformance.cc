// Sends the recording through the C++ client's RunStream and Compare, and writes the answers.
//
// usage: cpp_conformance ADDRESS REQUESTS_FOLDER ANSWERS_FOLDER

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/io/zero_copy_stream_impl.h"
#include "google/protobuf/util/delimited_message_util.h"
#include "grpcpp/security/credentials.h"
#include "thermograd/client/client.h"

namespace thermograd {
namespace {

template <typename Message>
std::vector<Message> Read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  google::protobuf::io::IstreamInputStream input(&file);
  std::vector<Message> messages;
  bool ended = false;
  Message message;
  while (google::protobuf::util::ParseDelimitedFromZeroCopyStream(&message, &input, &ended)) {
    messages.push_back(std::move(message));
    message.Clear();
  }
  return messages;
}

template <typename Message>
void Write(const Message& message, std::ofstream& file) {
  google::protobuf::util::SerializeDelimitedToOstream(message, &file);
}

// Writes what the server says of a step that was ended.
absl::Status WriteStep(client::RunStream& stream, uint64_t step, std::vector<v1::Notice>& notices,
                       std::ofstream& answers) {
  const std::optional<v1::StepReport> report = stream.NextReport();
  if (!report) return absl::UnavailableError("the stream ended before a report");
  v1::StreamRunResponse answer;
  for (v1::Notice& notice : notices) {
    *answer.mutable_notice() = std::move(notice);
    Write(answer, answers);
  }
  notices.clear();
  *answer.mutable_step_report() = *report;
  Write(answer, answers);
  while (stream.last_acknowledged_step() != step) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  answer.mutable_acknowledgement()->set_step(step);
  Write(answer, answers);
  return absl::OkStatus();
}

absl::Status StreamRun(const std::shared_ptr<grpc::Channel>& channel,
                       const std::vector<v1::StreamRunRequest>& requests, std::ofstream& answers) {
  // Filled by the stream's reader before it queues the report that follows, which is taken first.
  std::vector<v1::Notice> notices;
  client::RunStreamOptions options;
  options.on_notice = [&notices](const v1::Notice& notice) { notices.push_back(notice); };
  const absl::StatusOr<std::unique_ptr<client::RunStream>> stream =
      client::RunStream::Open(channel, requests.at(0).run_spec(), options);
  if (!stream.ok()) return stream.status();
  v1::StreamRunResponse accepted;
  *accepted.mutable_run_accepted() = (*stream)->accepted();
  Write(accepted, answers);
  for (size_t i = 1; i < requests.size(); ++i) {
    const v1::StreamRunRequest& request = requests[i];
    absl::Status status;
    if (request.has_step_begin()) {
      status = (*stream)->BeginStep(request.step_begin());
    } else if (request.has_chunk()) {
      const v1::TensorChunk& chunk = request.chunk();
      const client::TensorView tensor = {
          chunk.data_type(), {chunk.shape().begin(), chunk.shape().end()}, chunk.data()};
      status = (*stream)->Send(chunk.tensor_id(), chunk.kind(), tensor, chunk.microbatch());
    } else {
      const uint64_t step = request.step_end().step();
      status = (*stream)->EndStep(step);
      if (status.ok()) status = WriteStep(**stream, step, notices, answers);
    }
    if (!status.ok()) return status;
  }
  return (*stream)->Finish();
}

absl::Status Compare(const std::shared_ptr<grpc::Channel>& channel,
                     const std::vector<v1::CompareRepresentationsRequest>& requests,
                     std::ofstream& answers) {
  client::CompareOptions options;
  client::Representation sides[2];
  for (const v1::CompareRepresentationsRequest& request : requests) {
    if (request.has_options()) options.similarity = request.options();
    if (request.has_header()) {
      const v1::ComparisonHeader& header = request.header();
      client::Representation& side = sides[header.side() - 1];
      side.activations.data_type = header.data_type();
      side.activations.shape = {header.samples(), header.features()};
      side.fingerprint = header.fingerprint();
    }
    if (request.has_chunk()) {
      sides[request.chunk().side() - 1].activations.bytes = request.chunk().data();
    }
  }
  const absl::StatusOr<v1::CompareRepresentationsResponse> similarities =
      client::Compare(channel, sides[0], sides[1], options);
  if (similarities.ok()) Write(*similarities, answers);
  return similarities.status();
}

absl::Status Converse(const std::string& address, const std::string& requests,
                      const std::string& answers) {
  const auto channel = client::NewChannel(address, grpc::InsecureChannelCredentials());
  std::ofstream run(answers + "/run.binpb", std::ios::binary);
  absl::Status status =
      StreamRun(channel, Read<v1::StreamRunRequest>(requests + "/run.binpb"), run);
  if (!status.ok()) return status;
  std::ofstream comparison(answers + "/comparison.binpb", std::ios::binary);
  return Compare(channel, Read<v1::CompareRepresentationsRequest>(requests + "/comparison.binpb"),
                 comparison);
}

}  // namespace
}  // namespace thermograd

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const absl::Status status = thermograd::Converse(argv[1], argv[2], argv[3]);
  if (status.ok()) return 0;
  std::cerr << status << "\n";
  return 1;
}
