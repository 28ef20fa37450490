#ifndef THERMOGRAD_TESTS_FUZZ_MESSAGE_MUTATOR_H_
#define THERMOGRAD_TESTS_FUZZ_MESSAGE_MUTATOR_H_

#include <random>

#include "google/protobuf/message.h"

namespace thermograd::fuzz {

/// Changes one field of a message, or of a message in it: a number to a neighbour, another one or
/// an edge of its range; text and bytes as libFuzzer does; a repeated field by one entry more,
/// less, copied or moved; any field may go. The message stays well-formed, so that every mutation
/// gets past the parser.
void MutateField(google::protobuf::Message* message, std::minstd_rand* random);

}  // namespace thermograd::fuzz

#endif  // THERMOGRAD_TESTS_FUZZ_MESSAGE_MUTATOR_H_
