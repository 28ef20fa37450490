// Any sequence of events of three streams, of which two begin as the ranks of one run: no crash,
// and all that InterleavedSessions watches.

#include "service/limits.h"
#include "service/messages.h"
#include "tests/fuzz/message_sequence.h"
#include "tests/fuzz/session_event.pb.h"
#include "tests/service/interleaved_sessions.h"

namespace thermograd::fuzz {
namespace {

constexpr size_t kSessions = 3;

service::Limits SmallLimits() {
  service::Limits limits;
  limits.max_chunk_bytes = 4096;
  limits.max_stream_bytes = 1 << 20;
  return limits;
}

// Less than all of them may take.
service::InterleavedSessions MakeSessions() { return {SmallLimits(), 3 << 19, kSessions}; }

absl::Status Happen(const SessionEvent& event, service::InterleavedSessions* sessions) {
  const size_t session = event.session() % kSessions;
  switch (event.event_case()) {
    case SessionEvent::kRequest:
      return sessions->Receive(session, event.request());
    case SessionEvent::kHangUp:
      sessions->End(session);
      break;
    case SessionEvent::kExpireSteps:
      sessions->ExpireSteps();
      break;
    case SessionEvent::kSetCadence: {
      const auto cadence = service::CheckCadence(event.set_cadence().cadence(), SmallLimits());
      if (!cadence.ok()) return cadence.status();
      sessions->Ask(event.set_cadence().run(), *cadence);
      break;
    }
    case SessionEvent::EVENT_NOT_SET:
      break;
  }
  return absl::OkStatus();
}

constexpr const char* kConversation[] = {
    R"(session: 0 request { run_spec {
         run: "run" rank: 0 world_size: 2
         parameter_kinds: TENSOR_KIND_UPDATE parameter_kinds: TENSOR_KIND_REDUCED_GRADIENT
         reporting { window_steps: 2 similarity_over_window: true report_every_steps: 2 }
         optimizer { kind: OPTIMIZER_KIND_MOMENTUM momentum: 0.9 nesterov: true }
         parameters {
           id: 1 name: "u" shape: 2 shape: 2 group: "g"
           shard { offset: 0 offset: 0 shape: 1 shape: 2 replicas: 1 }
         }
         parameters { id: 2 name: "w" shape: 1 shape: 2 }
         symmetries { name: "s" neuron_rescaling { incoming { parameter_id: 1 } outgoing { parameter_id: 2 } } }
         symmetries { name: "t" logit_translation { weight { parameter_id: 1 } } }
         layers { id: 3 name: "h" width: 2 weight_id: 1 reader_weight_id: 2 }
         layers { id: 4 name: "p" width: 2 probe_set: "probes" projected_from: 8 }
         probe_sets { name: "probes" samples: 4 fingerprint: "f" sampled_from: 8 }
         sampling { every_steps: 2 model_elements: 100 }
       } })",
    R"(session: 1 request { run_spec {
         run: "run" rank: 1 world_size: 2
         parameter_kinds: TENSOR_KIND_UPDATE parameter_kinds: TENSOR_KIND_REDUCED_GRADIENT
         reporting { window_steps: 2 similarity_over_window: true report_every_steps: 2 }
         optimizer { kind: OPTIMIZER_KIND_MOMENTUM momentum: 0.9 nesterov: true }
         parameters {
           id: 1 name: "u" shape: 2 shape: 2 group: "g"
           shard { offset: 1 offset: 0 shape: 1 shape: 2 replicas: 1 }
         }
         parameters { id: 2 name: "w" shape: 1 shape: 2 }
         symmetries { name: "s" neuron_rescaling { incoming { parameter_id: 1 } outgoing { parameter_id: 2 } } }
         symmetries { name: "t" logit_translation { weight { parameter_id: 1 } } }
         layers { id: 3 name: "h" width: 2 weight_id: 1 reader_weight_id: 2 }
         layers { id: 4 name: "p" width: 2 probe_set: "probes" projected_from: 8 }
         probe_sets { name: "probes" samples: 4 fingerprint: "f" sampled_from: 8 }
         sampling { every_steps: 2 model_elements: 100 }
       } })",
    R"(session: 2 request { run_spec {
         run: "other" resume_after_step: 0
         parameters { id: 1 name: "u" shape: 2 }
         layers { id: 4 name: "p" width: 2 probe_set: "probes" }
         probe_sets { name: "probes" samples: 4 fingerprint: "f" sampled_from: 8 }
       } })",
    "session: 0 request { step_begin { step: 1 loss: 1 learning_rate: 0.1 microbatch_size: 4 } }",
    "session: 1 request { step_begin { step: 1 loss: 2 learning_rate: 0.1 microbatch_size: 4 "
    "microbatches: 2 } }",
    "session: 2 request { step_begin { step: 1 learning_rate: 0.1 microbatch_size: 4 } }",
    "session: 0 request { chunk { tensor_id: 1 kind: TENSOR_KIND_GRADIENT "
    "data_type: DATA_TYPE_BF16 data: 'abcd' } }",
    "session: 0 request { chunk { tensor_id: 1 kind: TENSOR_KIND_WEIGHT data_type: DATA_TYPE_BF16 "
    "data: 'abcd' } }",
    "session: 0 request { chunk { tensor_id: 2 kind: TENSOR_KIND_GRADIENT "
    "data_type: DATA_TYPE_FP16 data: 'abcd' } }",
    "session: 0 request { chunk { tensor_id: 2 kind: TENSOR_KIND_WEIGHT data_type: DATA_TYPE_BF16 "
    "data: 'abcd' } }",
    "session: 1 request { chunk { tensor_id: 1 kind: TENSOR_KIND_GRADIENT "
    "data_type: DATA_TYPE_BF16 data: 'efgh' } }",
    "session: 1 request { chunk { tensor_id: 1 kind: TENSOR_KIND_GRADIENT "
    "data_type: DATA_TYPE_BF16 data: 'abcd' microbatch: 1 } }",
    "session: 1 request { chunk { tensor_id: 2 kind: TENSOR_KIND_GRADIENT "
    "data_type: DATA_TYPE_FP32 data: 'abcdefgh' } }",
    "session: 1 request { chunk { tensor_id: 2 kind: TENSOR_KIND_GRADIENT "
    "data_type: DATA_TYPE_FP32 data: 'ijklmnop' microbatch: 1 } }",
    "session: 1 request { chunk { tensor_id: 1 kind: TENSOR_KIND_WEIGHT data_type: DATA_TYPE_BF16 "
    "data: 'efgh' } }",
    "session: 1 request { chunk { tensor_id: 2 kind: TENSOR_KIND_WEIGHT data_type: DATA_TYPE_BF16 "
    "data: 'abcd' } }",
    "session: 0 request { chunk { tensor_id: 1 kind: TENSOR_KIND_REDUCED_GRADIENT "
    "data_type: DATA_TYPE_BF16 data: 'abcd' } }",
    "session: 1 request { chunk { tensor_id: 1 kind: TENSOR_KIND_REDUCED_GRADIENT "
    "data_type: DATA_TYPE_BF16 data: 'abcd' } }",
    "session: 0 request { chunk { tensor_id: 1 kind: TENSOR_KIND_UPDATE data_type: DATA_TYPE_BF16 "
    "data: 'abcd' } }",
    "session: 0 request { chunk { tensor_id: 3 kind: TENSOR_KIND_ACTIVATION shape: 3 shape: 2 "
    "data_type: DATA_TYPE_BF16 data: 'abcdefghijkl' } }",
    "session: 0 request { chunk { tensor_id: 3 kind: TENSOR_KIND_ACTIVATION_GRADIENT shape: 3 "
    "shape: 2 data_type: DATA_TYPE_BF16 data: 'bacdefghijkl' } }",
    "session: 0 request { chunk { tensor_id: 4 kind: TENSOR_KIND_ACTIVATION shape: 4 shape: 2 "
    "data_type: DATA_TYPE_FP16 data: 'ahcdefgbponmlkji' } }",
    "session: 2 request { chunk { tensor_id: 4 kind: TENSOR_KIND_ACTIVATION shape: 4 shape: 2 "
    "data_type: DATA_TYPE_FP16 data: 'ahcdefgbijklmnop' } }",
    "session: 2 request { chunk { tensor_id: 1 kind: TENSOR_KIND_GRADIENT "
    "data_type: DATA_TYPE_FP64 data: 'abcdefghijklmnop' } }",
    "session: 0 request { step_end { step: 1 } }",
    "session: 2 set_cadence { run: 'run' cadence { every_steps: 2 first_step: 3 last_step: 9 "
    "include: 'a' exclude: 'b' layers { names: 'h' } } }",
    "session: 2 request { step_end { step: 1 } }",
    "session: 1 request { step_end { step: 1 } }",
    "session: 0 request { step_begin { step: 2 learning_rate: 0.1 microbatch_size: 4 } }",
    "session: 0 request { statistics { parameters { tensor_id: 1 elements: 2 "
    "gradient_sum_squared_norm: 4 weight_squared_norm: 2 } } }",
    "session: 0 request { step_end { step: 2 } }",
    "session: 0 expire_steps {}",
    "session: 1 request { step_begin { step: 3 learning_rate: 0.1 microbatch_size: 4 } }",
    "session: 1 request { step_end { step: 3 } }",
    "session: 0 hang_up {}",
    "session: 1 hang_up {}",
};

}  // namespace
}  // namespace thermograd::fuzz

THERMOGRAD_FUZZ_MESSAGES(thermograd::fuzz::SessionEvent, thermograd::fuzz::kConversation)

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  using thermograd::fuzz::SessionEvent;
  auto sessions = thermograd::fuzz::MakeSessions();
  for (const SessionEvent& event :
       thermograd::fuzz::ParseMessages<SessionEvent>(thermograd::fuzz::kConversation)) {
    thermograd::fuzz::CheckIsValid(thermograd::fuzz::Happen(event, &sessions), event);
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using thermograd::fuzz::SessionEvent;
  auto sessions = thermograd::fuzz::MakeSessions();
  for (const SessionEvent& event : thermograd::fuzz::ReadMessages<SessionEvent>(data, size)) {
    thermograd::fuzz::CheckStatus(thermograd::fuzz::Happen(event, &sessions));
  }
  sessions.EndAll();
  thermograd::fuzz::CheckNoViolation(sessions.violation());
  return 0;
}
