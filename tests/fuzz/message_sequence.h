#ifndef THERMOGRAD_TESTS_FUZZ_MESSAGE_SEQUENCE_H_
#define THERMOGRAD_TESTS_FUZZ_MESSAGE_SEQUENCE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "google/protobuf/text_format.h"
#include "google/protobuf/util/delimited_message_util.h"
#include "tests/fuzz/message_mutator.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace thermograd::fuzz {

/// Messages from their text format.
template <typename Message>
std::vector<Message> ParseMessages(std::span<const char* const> texts) {
  std::vector<Message> messages;
  for (const char* text : texts) {
    if (!google::protobuf::TextFormat::ParseFromString(text, &messages.emplace_back())) abort();
  }
  return messages;
}

/// Aborts on a status that bad input must not get.
inline void CheckStatus(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kUnimplemented:
      return;
    default:
      std::fprintf(stderr, "%s\n", status.ToString().c_str());
      abort();
  }
}

/// Aborts where a conversation that mutations start from is not valid itself: they would never get
/// past the message that is refused.
inline void CheckIsValid(const absl::Status& status, const google::protobuf::Message& message) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n%s\n", status.ToString().c_str(), message.ShortDebugString().c_str());
  abort();
}

/// Aborts where InterleavedSessions has seen something that must not be.
inline void CheckNoViolation(const std::string& violation) {
  if (violation.empty()) return;
  std::fprintf(stderr, "%s\n", violation.c_str());
  abort();
}

/// The messages of a fuzz input (each preceded by its length as a varint), up to the first that
/// does not parse: exactly what a session sees behind the transport.
template <typename Message>
std::vector<Message> ReadMessages(const uint8_t* data, size_t size) {
  google::protobuf::io::ArrayInputStream stream(data, static_cast<int>(size));
  std::vector<Message> messages;
  // Into a message of its own: one that is read is merged into what is there.
  while (google::protobuf::util::ParseDelimitedFromZeroCopyStream(&messages.emplace_back(), &stream,
                                                                  nullptr)) {
  }
  messages.pop_back();
  return messages;
}

/// As many of the messages as there is room for. Returns their bytes.
template <typename Message>
size_t WriteMessages(const std::vector<Message>& messages, uint8_t* data, size_t max_size) {
  google::protobuf::io::ArrayOutputStream stream(data, static_cast<int>(max_size));
  size_t written = 0;
  for (const Message& message : messages) {
    if (!google::protobuf::util::SerializeDelimitedToZeroCopyStream(message, &stream)) break;
    written = static_cast<size_t>(stream.ByteCount());
  }
  return written;
}

/// A message of which some bytes have changed, if it still is one.
template <typename Message>
void MutateBytes(Message* message) {
  std::string bytes = message->SerializeAsString();
  const size_t length = bytes.size();
  bytes.resize(length + 64);
  bytes.resize(LLVMFuzzerMutate(reinterpret_cast<uint8_t*>(bytes.data()), length, bytes.size()));
  Message changed;
  if (changed.ParseFromString(bytes)) *message = std::move(changed);
}

/// A mutation that stays a sequence of well-formed messages: one is changed, repeated, removed,
/// exchanged with its neighbour, or comes in from `valid`, the conversation to start from. Byte
/// mutations alone break the framing nearly every time and never get past the declaration.
template <typename Message>
size_t MutateMessages(const std::vector<Message>& valid, uint8_t* data, size_t size,
                      size_t max_size, unsigned seed) {
  std::minstd_rand random(seed);
  std::vector<Message> messages = ReadMessages<Message>(data, size);
  if (messages.size() < 2) messages = valid;
  // The declaration, which comes first, decides the most.
  const size_t index = random() % 4 == 0 ? 0 : random() % messages.size();
  const auto place = messages.begin() + static_cast<ptrdiff_t>(index);
  switch (random() % 16) {
    case 0:
      messages.insert(place, Message(messages[index]));
      break;
    case 1:
      messages.erase(place);
      break;
    case 2:
      std::swap(messages[index], messages[(index + 1) % messages.size()]);
      break;
    case 3:
      messages.insert(place, valid[random() % valid.size()]);
      break;
    case 4:
      MutateBytes(&messages[index]);
      break;
    case 5:
      messages.resize(index + 1);
      break;
    default:
      for (unsigned i = random() % 3; i < 3; ++i) MutateField(&messages[index], &random);
  }
  const size_t written = WriteMessages(messages, data, max_size);
  return written > 0 ? written : LLVMFuzzerMutate(data, size, max_size);
}

/// The first messages of one input, then the last of another.
template <typename Message>
size_t CrossMessages(std::span<const uint8_t> first, std::span<const uint8_t> second, uint8_t* data,
                     size_t max_size, unsigned seed) {
  std::minstd_rand random(seed);
  std::vector<Message> messages = ReadMessages<Message>(first.data(), first.size());
  const std::vector<Message> others = ReadMessages<Message>(second.data(), second.size());
  messages.resize(random() % (messages.size() + 1));
  const size_t from = random() % (others.size() + 1);
  messages.insert(messages.end(), others.begin() + static_cast<ptrdiff_t>(from), others.end());
  return WriteMessages(messages, data, max_size);
}

}  // namespace thermograd::fuzz

/// Gives a target the mutations of sequences of `Message`, from the texts of `conversation` on.
#define THERMOGRAD_FUZZ_MESSAGES(Message, conversation)                                         \
  extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,        \
                                            unsigned seed) {                                    \
    static const auto* const valid =                                                            \
        new auto(thermograd::fuzz::ParseMessages<Message>(conversation));                       \
    return thermograd::fuzz::MutateMessages(*valid, data, size, max_size, seed);                \
  }                                                                                             \
  extern "C" size_t LLVMFuzzerCustomCrossOver(const uint8_t* first, size_t first_size,          \
                                              const uint8_t* second, size_t second_size,        \
                                              uint8_t* data, size_t max_size, unsigned seed) {  \
    return thermograd::fuzz::CrossMessages<Message>({first, first_size}, {second, second_size}, \
                                                    data, max_size, seed);                      \
  }

#endif  // THERMOGRAD_TESTS_FUZZ_MESSAGE_SEQUENCE_H_
