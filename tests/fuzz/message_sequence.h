#ifndef THERMOGRAD_TESTS_FUZZ_MESSAGE_SEQUENCE_H_
#define THERMOGRAD_TESTS_FUZZ_MESSAGE_SEQUENCE_H_

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "google/protobuf/text_format.h"
#include "google/protobuf/util/delimited_message_util.h"

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
      abort();
  }
}

/// The messages of a fuzz input (each preceded by its length as a varint), up to the first that
/// does not parse: exactly what a session sees behind the transport.
template <typename Message>
std::vector<Message> ReadMessages(const uint8_t* data, size_t size) {
  google::protobuf::io::ArrayInputStream stream(data, static_cast<int>(size));
  std::vector<Message> messages;
  Message message;
  while (google::protobuf::util::ParseDelimitedFromZeroCopyStream(&message, &stream, nullptr)) {
    messages.push_back(message);
  }
  return messages;
}

template <typename Message>
size_t WriteMessages(const std::vector<Message>& messages, uint8_t* data, size_t max_size) {
  google::protobuf::io::ArrayOutputStream stream(data, static_cast<int>(max_size));
  for (const Message& message : messages) {
    if (!google::protobuf::util::SerializeDelimitedToZeroCopyStream(message, &stream)) return 0;
  }
  return static_cast<size_t>(stream.ByteCount());
}

/// A mutation that stays a sequence of well-formed messages: one is changed, repeated, removed or
/// exchanged with its neighbour. Byte mutations alone break the framing nearly every time and never
/// get past the declaration. `valid` is the conversation to start from.
template <typename Message>
size_t MutateMessages(const std::vector<Message>& valid, uint8_t* data, size_t size,
                      size_t max_size, unsigned seed) {
  std::minstd_rand random(seed);
  std::vector<Message> messages = ReadMessages<Message>(data, size);
  if (messages.size() < 2) messages = valid;
  const size_t index = random() % messages.size();
  switch (random() % 8) {
    case 0:
      messages.insert(messages.begin() + static_cast<ptrdiff_t>(index), messages[index]);
      break;
    case 1:
      messages.erase(messages.begin() + static_cast<ptrdiff_t>(index));
      break;
    case 2:
      std::swap(messages[index], messages[(index + 1) % messages.size()]);
      break;
    default: {
      std::string bytes = messages[index].SerializeAsString();
      const size_t length = bytes.size();
      bytes.resize(length + 64);
      bytes.resize(
          LLVMFuzzerMutate(reinterpret_cast<uint8_t*>(bytes.data()), length, bytes.size()));
      Message changed;
      if (changed.ParseFromString(bytes)) messages[index] = changed;
    }
  }
  const size_t written = WriteMessages(messages, data, max_size);
  return written > 0 ? written : LLVMFuzzerMutate(data, size, max_size);
}

}  // namespace thermograd::fuzz

#endif  // THERMOGRAD_TESTS_FUZZ_MESSAGE_SEQUENCE_H_
