// Configuration in JSON, as `thermograd send --spec` and `thermograd cadence --file` read it: what
// is read is checked as the server does, and what the server admits stays the same on its way to
// the trainers. The first byte picks which of the two it is.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>

#include "google/protobuf/util/json_util.h"
#include "google/protobuf/util/message_differencer.h"
#include "service/declaration.h"
#include "service/messages.h"
#include "tests/fuzz/message_mutator.h"
#include "tests/fuzz/message_sequence.h"

namespace thermograd::fuzz {
namespace {

using google::protobuf::StringPiece;
using google::protobuf::util::JsonStringToMessage;
using google::protobuf::util::MessageToJsonString;

bool IsSpec(uint8_t first) { return first % 2 == 0; }

// Reads, changes a field, and writes; false if it cannot be read.
template <typename Message>
bool MutateJson(std::minstd_rand* random, std::string* json) {
  Message message;
  if (!JsonStringToMessage(*json, &message).ok()) return false;
  MutateField(&message, random);
  json->clear();
  return MessageToJsonString(message, json).ok();
}

void CheckSpec(StringPiece json) {
  v1::RunSpec spec;
  if (!JsonStringToMessage(json, &spec).ok()) return;
  CheckStatus(service::CheckRunSpec(spec, service::Limits()).status());
}

void CheckAskedCadence(StringPiece json) {
  v1::Cadence cadence;
  if (!JsonStringToMessage(json, &cadence).ok()) return;
  const auto checked = service::CheckCadence(cadence, service::Limits());
  CheckStatus(checked.status());
  if (!checked.ok()) return;
  const v1::StreamRunResponse response = service::CadenceResponse(*checked);
  // A field that is there but empty is another thing than one that is not.
  if (!google::protobuf::util::MessageDifferencer::Equals(response.cadence(), cadence)) abort();
}

}  // namespace
}  // namespace thermograd::fuzz

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  std::minstd_rand random(seed);
  if (size < 2 || random() % 2 == 0) return LLVMFuzzerMutate(data, size, max_size);
  std::string json(reinterpret_cast<const char*>(data) + 1, size - 1);
  const bool changed = thermograd::fuzz::IsSpec(data[0])
                           ? thermograd::fuzz::MutateJson<thermograd::v1::RunSpec>(&random, &json)
                           : thermograd::fuzz::MutateJson<thermograd::v1::Cadence>(&random, &json);
  if (!changed || json.size() >= max_size) return LLVMFuzzerMutate(data, size, max_size);
  std::copy(json.begin(), json.end(), data + 1);
  return json.size() + 1;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const google::protobuf::StringPiece json(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (thermograd::fuzz::IsSpec(data[0])) {
    thermograd::fuzz::CheckSpec(json);
  } else {
    thermograd::fuzz::CheckAskedCadence(json);
  }
  return 0;
}
