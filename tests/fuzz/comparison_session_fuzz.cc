// Any sequence of messages of a comparison: no crash, no figure that is not finite, no status but
// those for bad input, and all memory given back.

#include <cmath>
#include <cstdlib>
#include <vector>

#include "service/comparison_session.h"
#include "tests/fuzz/message_sequence.h"

namespace thermograd::service {
namespace {

constexpr const char* kConversation[] = {
    R"(options {
         similarities: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] neighbours: 2 permutations: 19
       })",
    "header { side: COMPARISON_SIDE_X samples: 4 features: 2 data_type: DATA_TYPE_BF16 }",
    "header { side: COMPARISON_SIDE_Y samples: 4 features: 1 data_type: DATA_TYPE_FP32 }",
    "chunk { side: COMPARISON_SIDE_X data: 'abcdefgh' }",
    "chunk { side: COMPARISON_SIDE_X offset: 4 data: 'ijklmnop' }",
    "chunk { side: COMPARISON_SIDE_Y data: 'abcdefghijklmnop' }",
};

}  // namespace
}  // namespace thermograd::service

THERMOGRAD_FUZZ_MESSAGES(thermograd::v1::CompareRepresentationsRequest,
                         thermograd::service::kConversation)

namespace thermograd::service {
namespace {

// Small enough that moments are summed in some of the calls.
Limits SmallLimits() {
  Limits limits;
  limits.max_chunk_bytes = 4096;
  limits.max_samples = 64;
  return limits;
}

// Status of the whole call.
absl::Status Compare(const std::vector<v1::CompareRepresentationsRequest>& messages,
                     Admission* admission) {
  ComparisonSession session(SmallLimits(), admission);
  for (const auto& message : messages) {
    if (absl::Status status = session.Receive(message); !status.ok()) return status;
  }
  const auto response = session.Finish();
  if (!response.ok()) return response.status();
  for (const auto& metric : response->metrics()) {
    if (!std::isfinite(metric.value())) abort();
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace thermograd::service

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  thermograd::service::Admission admission(1, 1 << 20);
  const auto messages =
      thermograd::fuzz::ParseMessages<thermograd::v1::CompareRepresentationsRequest>(
          thermograd::service::kConversation);
  thermograd::fuzz::CheckIsValid(thermograd::service::Compare(messages, &admission),
                                 messages.front());
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  thermograd::service::Admission admission(1, 1 << 20);
  const auto messages =
      thermograd::fuzz::ReadMessages<thermograd::v1::CompareRepresentationsRequest>(data, size);
  thermograd::fuzz::CheckStatus(thermograd::service::Compare(messages, &admission));
  if (admission.bytes() != 0) abort();
  return 0;
}
