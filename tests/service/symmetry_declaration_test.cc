#include "service/symmetry_declaration.h"

#include <string>

#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "service/declaration.h"

namespace thermograd::service {
namespace {

using testing::HasSubstr;

absl::Status Declare(const std::string& symmetry, const Limits& limits = Limits()) {
  v1::RunSpec spec;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
      R"(run: 'run'
         parameters { id: 1 name: 'a' shape: 8 shape: 6 }
         parameters { id: 2 name: 'b' shape: 6 shape: 16 }
         parameters { id: 3 name: 'bias' shape: 8 }
         parameters { id: 4 name: 'kernel' shape: 8 shape: 3 shape: 2 }
         parameters { id: 5 name: 'column' shape: 8 shape: 1 }
         parameters { id: 6 name: 'huge' shape: 1099511627776 }
         parameters { id: 7 name: 'wide' shape: 1 shape: 1099511627776 }
         symmetries { name: 's' )" +
          symmetry + "}",
      &spec))
      << symmetry;
  return CheckRunSpec(spec, limits).status();
}

void ExpectRefused(const std::string& symmetry, const std::string& field,
                   absl::StatusCode code = absl::StatusCode::kInvalidArgument,
                   const Limits& limits = Limits()) {
  const absl::Status status = Declare(symmetry, limits);
  EXPECT_EQ(status.code(), code) << symmetry << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("run_spec.symmetries[0]" + field));
}

TEST(SymmetryDeclaration, AcceptsEveryKind) {
  for (const char* symmetry :
       {"neuron_rescaling { incoming { parameter_id: 1 } incoming_bias { parameter_id: 3 }"
        " outgoing { parameter_id: 2 } }",
        "neuron_rescaling { incoming { parameter_id: 1 first_row: 4 } outgoing { parameter_id: 1"
        " rows: 3 transposed: true } }",
        "layer_rescaling { first { parameter_id: 4 } second { parameter_id: 1 } }",
        "double_rotation { heads: 2 first { parameter_id: 1 } second { parameter_id: 2 } }",
        "query_key_rotation { heads: 2 query { parameter_id: 1 } key { parameter_id: 4 }"
        " rotary: ROTARY_LAYOUT_HALVES }",
        "scale_invariance { weight { parameter_id: 4 } per_row: true }",
        "logit_translation { weight { parameter_id: 1 } bias { parameter_id: 3 } }",
        "neuron_permutation { incoming { parameter_id: 1 } outgoing { parameter_id: 2 } }"}) {
    if (std::string(symmetry).find("rows: 3") != std::string::npos) {
      ExpectRefused(symmetry, ".neuron_rescaling.outgoing");  // the two cross
    } else {
      EXPECT_TRUE(Declare(symmetry).ok()) << symmetry << Declare(symmetry);
    }
  }
}

TEST(SymmetryDeclaration, NamesTheFieldThatDoesNotFit) {
  ExpectRefused("", ".kind");
  ExpectRefused("neuron_rescaling { outgoing { parameter_id: 2 } }", ".neuron_rescaling.incoming");
  ExpectRefused("neuron_rescaling { incoming { parameter_id: 9 } outgoing { parameter_id: 2 } }",
                ".neuron_rescaling.incoming.parameter_id");
  ExpectRefused(
      "neuron_rescaling { incoming { parameter_id: 1 first_row: 8 }"
      " outgoing { parameter_id: 2 } }",
      ".neuron_rescaling.incoming.first_row");
  ExpectRefused(
      "neuron_rescaling { incoming { parameter_id: 1 first_row: 1 rows: 8 }"
      " outgoing { parameter_id: 2 } }",
      ".neuron_rescaling.incoming.rows");
  ExpectRefused(
      "neuron_rescaling { incoming { parameter_id: 1 first_row: 1"
      " rows: 18446744073709551615 } outgoing { parameter_id: 2 } }",
      ".neuron_rescaling.incoming.rows");
  ExpectRefused(
      "neuron_rescaling { incoming { parameter_id: 4 transposed: true }"
      " outgoing { parameter_id: 2 } }",
      ".neuron_rescaling.incoming.transposed");
  ExpectRefused(
      "neuron_rescaling { incoming { parameter_id: 1 rows: 6 }"
      " outgoing { parameter_id: 2 } }",
      ".neuron_rescaling.outgoing");
  ExpectRefused(
      "neuron_rescaling { incoming { parameter_id: 1 rows: 4 }"
      " incoming_bias { parameter_id: 3 } outgoing { parameter_id: 2 } }",
      ".neuron_rescaling.incoming_bias");
  ExpectRefused(
      "layer_rescaling { first { parameter_id: 5 }"
      " second { parameter_id: 5 first_row: 7 } }",
      ".layer_rescaling.second");
  ExpectRefused("double_rotation { heads: 3 first { parameter_id: 1 } second { parameter_id: 2 } }",
                ".double_rotation.heads");
  ExpectRefused("double_rotation { first { parameter_id: 4 } second { parameter_id: 1 } }",
                ".double_rotation.second");
  ExpectRefused(
      "query_key_rotation { query { parameter_id: 1 rows: 6 }"
      " key { parameter_id: 4 rows: 4 } }",
      ".query_key_rotation.query");
  ExpectRefused(
      "query_key_rotation { query { parameter_id: 1 rows: 3 }"
      " key { parameter_id: 4 rows: 3 } rotary: ROTARY_LAYOUT_HALVES }",
      ".query_key_rotation.rotary");
  ExpectRefused("logit_translation { weight { parameter_id: 1 } bias { parameter_id: 2 } }",
                ".logit_translation.bias");
}

TEST(SymmetryDeclaration, MembersOfOneParameterMustNotOverlap) {
  EXPECT_TRUE(Declare("query_key_rotation { query { parameter_id: 1 rows: 4 }"
                      " key { parameter_id: 1 first_row: 4 } }")
                  .ok());
  ExpectRefused(
      "query_key_rotation { query { parameter_id: 1 rows: 4 }"
      " key { parameter_id: 1 first_row: 3 rows: 4 } }",
      ".query_key_rotation.query");
  EXPECT_TRUE(Declare("double_rotation { first { parameter_id: 2 transposed: true rows: 8 }"
                      " second { parameter_id: 1 transposed: true first_row: 0 } }")
                  .ok());
  EXPECT_TRUE(Declare("layer_rescaling { first { parameter_id: 2 transposed: true rows: 8 }"
                      " second { parameter_id: 2 transposed: true first_row: 8 } }")
                  .ok());
}

TEST(SymmetryDeclaration, RowsCostNothingBeforeTheirTensorsCome) {
  // Four bytes for each of these rows would be more than any machine has.
  for (const char* symmetry :
       {"scale_invariance { weight { parameter_id: 6 } }",
        "neuron_rescaling { incoming { parameter_id: 1 } outgoing { parameter_id: 7 } }",
        "layer_rescaling { first { parameter_id: 1 } second { parameter_id: 6 } }",
        "double_rotation { first { parameter_id: 1 rows: 1 } second { parameter_id: 7 } }",
        R"(query_key_rotation { query { parameter_id: 6 } key { parameter_id: 3 }
           rotary: ROTARY_LAYOUT_HALVES })"}) {
    EXPECT_TRUE(Declare(symmetry).ok()) << symmetry << Declare(symmetry);
  }
  ExpectRefused("scale_invariance { weight { parameter_id: 6 } per_row: true }", "",
                absl::StatusCode::kResourceExhausted);
}

TEST(SymmetryDeclaration, LimitsAreNamed) {
  Limits limits;
  limits.max_rotation_rows = 7;
  ExpectRefused("double_rotation { first { parameter_id: 1 } second { parameter_id: 2 } }",
                ".double_rotation", absl::StatusCode::kResourceExhausted, limits);
  limits.max_permutation_neurons = 7;
  ExpectRefused("neuron_permutation { incoming { parameter_id: 1 } outgoing { parameter_id: 2 } }",
                ".neuron_permutation.incoming", absl::StatusCode::kResourceExhausted, limits);
  limits.max_symmetry_bytes = 1000;
  ExpectRefused("double_rotation { heads: 4 first { parameter_id: 1 } second { parameter_id: 2 } }",
                "", absl::StatusCode::kResourceExhausted, limits);
}

}  // namespace
}  // namespace thermograd::service
