// Any sequence of messages of one stream: no crash, and all that InterleavedSessions watches.

#include "service/limits.h"
#include "tests/fuzz/message_sequence.h"
#include "tests/service/interleaved_sessions.h"
#include "thermograd/v1/training_analysis_service.pb.h"

namespace thermograd::service {
namespace {

constexpr const char* kConversation[] = {
    R"(run_spec {
         run: "run" world_size: 1
         parameter_kinds: TENSOR_KIND_UPDATE parameter_kinds: TENSOR_KIND_PRECONDITIONER
         parameter_kinds: TENSOR_KIND_GRADIENT_AFTER_UPDATE
         parameter_kinds: TENSOR_KIND_REDUCED_GRADIENT
         reporting {
           window_steps: 2
           similarity { similarities: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] neighbours: 2 permutations: 19 }
         }
         optimizer { kind: OPTIMIZER_KIND_SGD }
         parameters {
           id: 1 name: "u" shape: 1 shape: 2 group: "g"
           shard { offset: 0 offset: 0 shape: 1 shape: 2 replicas: 1 }
         }
         parameters { id: 2 name: "w" shape: 2 shape: 1 }
         symmetries { name: "s" neuron_rescaling { incoming { parameter_id: 1 } outgoing { parameter_id: 2 } } }
         symmetries { name: "l" layer_rescaling { first { parameter_id: 1 } second { parameter_id: 2 } } }
         symmetries { name: "r" double_rotation { first { parameter_id: 2 } second { parameter_id: 1 } } }
         symmetries { name: "q" query_key_rotation { query { parameter_id: 2 } key { parameter_id: 1 } } }
         symmetries { name: "i" scale_invariance { weight { parameter_id: 2 } per_row: true } }
         symmetries { name: "t" logit_translation { weight { parameter_id: 2 transposed: true } } }
         symmetries { name: "p" neuron_permutation { incoming { parameter_id: 1 } outgoing { parameter_id: 2 } } }
         layers { id: 3 name: "h" width: 1 weight_id: 1 reader_weight_id: 2 }
         layers { id: 4 name: "p" width: 1 probe_set: "probes" }
         probe_sets { name: "probes" samples: 4 fingerprint: "f" }
       })",
    "step_begin { step: 1 loss: 1 learning_rate: 0.1 microbatches: 2 microbatch_size: 4 "
    "groups { group: 'g' learning_rate: 0.2 weight_decay: 0.1 } }",
    "chunk { tensor_id: 1 kind: TENSOR_KIND_WEIGHT data_type: DATA_TYPE_BF16 data: 'abcd' }",
    "chunk { tensor_id: 2 kind: TENSOR_KIND_WEIGHT data_type: DATA_TYPE_FP16 data: 'abcd' }",
    "chunk { tensor_id: 1 kind: TENSOR_KIND_GRADIENT data_type: DATA_TYPE_FP32 data: 'abcdefgh' }",
    "chunk { tensor_id: 2 kind: TENSOR_KIND_GRADIENT data_type: DATA_TYPE_BF16 data: 'abcd' }",
    "chunk { tensor_id: 1 kind: TENSOR_KIND_GRADIENT data_type: DATA_TYPE_FP32 data: 'ijkl' "
    "microbatch: 1 }",
    "chunk { tensor_id: 1 kind: TENSOR_KIND_GRADIENT data_type: DATA_TYPE_FP32 data: 'mnop' "
    "microbatch: 1 offset: 1 }",
    "chunk { tensor_id: 2 kind: TENSOR_KIND_GRADIENT data_type: DATA_TYPE_BF16 data: 'efgh' "
    "microbatch: 1 }",
    "chunk { tensor_id: 3 kind: TENSOR_KIND_ACTIVATION data_type: DATA_TYPE_BF16 data: 'abcdefgh' "
    "shape: 4 shape: 1 }",
    "chunk { tensor_id: 3 kind: TENSOR_KIND_ACTIVATION data_type: DATA_TYPE_BF16 data: 'abkdeflh' "
    "shape: 4 shape: 1 microbatch: 1 }",
    "chunk { tensor_id: 3 kind: TENSOR_KIND_ACTIVATION_GRADIENT data_type: DATA_TYPE_BF16 data: "
    "'bcdefgha' shape: 4 shape: 1 }",
    "chunk { tensor_id: 4 kind: TENSOR_KIND_ACTIVATION data_type: DATA_TYPE_FP16 data: 'ahcdefgb' "
    "shape: 4 shape: 1 }",
    "chunk { tensor_id: 1 kind: TENSOR_KIND_REDUCED_GRADIENT data_type: DATA_TYPE_BF16 "
    "data: 'abcd' }",
    "chunk { tensor_id: 2 kind: TENSOR_KIND_REDUCED_GRADIENT data_type: DATA_TYPE_BF16 "
    "data: 'abcd' }",
    "chunk { tensor_id: 1 kind: TENSOR_KIND_UPDATE data_type: DATA_TYPE_BF16 data: 'abcd' }",
    "chunk { tensor_id: 2 kind: TENSOR_KIND_UPDATE data_type: DATA_TYPE_BF16 data: 'abcd' }",
    "chunk { tensor_id: 1 kind: TENSOR_KIND_PRECONDITIONER data_type: DATA_TYPE_BF16 data: 'abcd' "
    "}",
    "chunk { tensor_id: 1 kind: TENSOR_KIND_GRADIENT_AFTER_UPDATE data_type: DATA_TYPE_BF16 "
    "data: 'abcd' }",
    "step_end { step: 1 }",
    "step_begin { step: 2 loss: 0.5 learning_rate: 0.1 microbatch_size: 4 }",
    "chunk { tensor_id: 1 kind: TENSOR_KIND_WEIGHT data_type: DATA_TYPE_BF16 data: 'abce' }",
    "chunk { tensor_id: 2 kind: TENSOR_KIND_WEIGHT data_type: DATA_TYPE_FP16 data: 'abcf' }",
    "step_end { step: 2 }",
    "step_begin { step: 3 learning_rate: 0.1 microbatch_size: 4 microbatches: 2 loss_scale: 2 "
    "reduced_batch_size: 16 }",
    "statistics { parameters { tensor_id: 1 elements: 1 gradient_sum_squared_norm: 4 "
    "gradient_squared_norm_of_sum: 4 reduced_gradient_squared_norm: 1 weight_squared_norm: 2 "
    "update_squared_norm: 1 gradient_dot_update: -0.5 preconditioned_squared_norm: 1 "
    "gradient_after_update_dot_update: -0.25 } }",
    "statistics { parameters { tensor_id: 1 elements: 1 gradient_sum_squared_norm: 4 "
    "gradient_squared_norm_of_sum: 4 reduced_gradient_squared_norm: 1 weight_squared_norm: 2 "
    "update_squared_norm: 1 gradient_dot_update: -0.5 preconditioned_squared_norm: 1 "
    "gradient_after_update_dot_update: -0.25 } "
    "symmetries { symmetry: 's' "
    "first { gradient_gradient: 1 weight_weight: 1 gradient_weight: 0.5 update_weight: -0.5 "
    "update_update: 1 } "
    "second { gradient_gradient: 2 weight_weight: 1 gradient_weight: 0.5 update_weight: -0.5 "
    "update_update: 1 } } "
    "symmetries { symmetry: 't' translation { gradient: 1 gradient: 2 weight: 1 weight: 1 "
    "update: 1 update: 2 gradient_squared_norm: 5 update_squared_norm: 5 } } }",
    "step_end { step: 3 }",
};

}  // namespace
}  // namespace thermograd::service

THERMOGRAD_FUZZ_MESSAGES(thermograd::v1::StreamRunRequest, thermograd::service::kConversation)

namespace {

thermograd::service::InterleavedSessions MakeSession() {
  thermograd::service::Limits limits;
  limits.max_chunk_bytes = 4096;
  limits.max_stream_bytes = 1 << 20;
  return {limits, 1 << 20, 1};
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  auto session = MakeSession();
  for (const auto& message : thermograd::fuzz::ParseMessages<thermograd::v1::StreamRunRequest>(
           thermograd::service::kConversation)) {
    thermograd::fuzz::CheckIsValid(session.Receive(0, message), message);
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto session = MakeSession();
  for (const auto& message :
       thermograd::fuzz::ReadMessages<thermograd::v1::StreamRunRequest>(data, size)) {
    if (!session.Receive(0, message).ok()) break;
  }
  session.EndAll();
  thermograd::fuzz::CheckNoViolation(session.violation());
  return 0;
}
