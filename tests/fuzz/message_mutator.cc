#include "tests/fuzz/message_mutator.h"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace thermograd::fuzz {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr size_t kGrowth = 64;  // bytes by which text may grow

class Mutator {
 public:
  explicit Mutator(std::minstd_rand* random) : random_(*random) {}

  void Mutate(Message* message) {
    // Every message in the tree is as likely as any other; without fields there is nothing to do.
    std::vector<Message*> messages;
    Collect(message, &messages);
    Message* chosen = messages[Below(messages.size())];
    const Descriptor* type = chosen->GetDescriptor();
    if (type->field_count() == 0) return;
    // Mostly what is there: most fields are absent, and members of a oneof exclude each other.
    std::vector<const FieldDescriptor*> present;
    chosen->GetReflection()->ListFields(*chosen, &present);
    const FieldDescriptor* field =
        present.empty() || OneIn(4)
            ? type->field(static_cast<int>(Below(static_cast<size_t>(type->field_count()))))
            : present[Below(present.size())];
    if (field->is_repeated()) {
      MutateRepeated(chosen, field);
    } else if (OneIn(8)) {
      chosen->GetReflection()->ClearField(chosen, field);
    } else {
      MutateSingular(chosen, field);
    }
  }

 private:
  size_t Below(size_t bound) { return random_() % bound; }
  bool OneIn(size_t n) { return Below(n) == 0; }

  static void Collect(Message* message, std::vector<Message*>* messages) {
    messages->push_back(message);
    const Reflection* reflection = message->GetReflection();
    std::vector<const FieldDescriptor*> fields;
    reflection->ListFields(*message, &fields);
    for (const FieldDescriptor* field : fields) {
      if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
      if (!field->is_repeated()) {
        Collect(reflection->MutableMessage(message, field), messages);
        continue;
      }
      for (int i = 0; i < reflection->FieldSize(*message, field); ++i) {
        Collect(reflection->MutableRepeatedMessage(message, field, i), messages);
      }
    }
  }

  template <typename Number>
  Number MutateNumber(Number value) {
    switch (Below(4)) {
      case 0:
        return static_cast<Number>(Below(8));
      case 1:
        return Neighbour(value);
      case 2:
        return Edge<Number>();
      default: {
        uint8_t bytes[sizeof(Number)];
        std::memcpy(bytes, &value, sizeof(Number));
        LLVMFuzzerMutate(bytes, sizeof(Number), sizeof(Number));
        std::memcpy(&value, bytes, sizeof(Number));
        return value;
      }
    }
  }

  template <typename Number>
  Number Neighbour(Number value) {
    if constexpr (std::is_floating_point_v<Number>) {
      return OneIn(2) ? value * 2 : -value;
    } else {
      // Wraps around, of signed numbers too.
      using Bits = std::make_unsigned_t<Number>;
      const Bits difference = OneIn(2) ? Bits{1} : static_cast<Bits>(-1);
      return static_cast<Number>(static_cast<Bits>(static_cast<Bits>(value) + difference));
    }
  }

  template <typename Number>
  Number Edge() {
    using Limits = std::numeric_limits<Number>;
    if constexpr (std::is_floating_point_v<Number>) {
      const Number edges[] = {-Number{0},        Limits::min(),       Limits::denorm_min(),
                              Limits::max(),     Limits::lowest(),    Limits::infinity(),
                              Limits::epsilon(), Limits::quiet_NaN(), -Limits::infinity()};
      return edges[Below(std::size(edges))];
    } else {
      const Number edges[] = {Limits::min(), Limits::max(), static_cast<Number>(Limits::max() / 2),
                              static_cast<Number>(Number{1} << Below(sizeof(Number) * 8 - 1))};
      return edges[Below(std::size(edges))];
    }
  }

  std::string MutateText(const FieldDescriptor* field, std::string text) {
    if (field->type() == FieldDescriptor::TYPE_BYTES && OneIn(8)) {
      // Another number of elements.
      text.resize(Below(kGrowth), '\1');
      return text;
    }
    const size_t size = text.size();
    text.resize(size + kGrowth);
    text.resize(LLVMFuzzerMutate(reinterpret_cast<uint8_t*>(text.data()), size, text.size()));
    if (field->type() == FieldDescriptor::TYPE_STRING) {
      // The parser refuses what is not UTF-8; nearly everything that is lies in ASCII.
      for (char& c : text) c = static_cast<char>(c & 0x7f);
    }
    return text;
  }

  int MutateEnum(const FieldDescriptor* field, int value) {
    if (OneIn(16)) return MutateNumber(value);
    const auto* type = field->enum_type();
    return type->value(static_cast<int>(Below(static_cast<size_t>(type->value_count()))))->number();
  }

  void MutateSingular(Message* message, const FieldDescriptor* field) {
    const Reflection* reflection = message->GetReflection();
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_UINT32:
        return reflection->SetUInt32(message, field,
                                     MutateNumber(reflection->GetUInt32(*message, field)));
      case FieldDescriptor::CPPTYPE_UINT64:
        return reflection->SetUInt64(message, field,
                                     MutateNumber(reflection->GetUInt64(*message, field)));
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return reflection->SetDouble(message, field,
                                     MutateNumber(reflection->GetDouble(*message, field)));
      case FieldDescriptor::CPPTYPE_BOOL:
        return reflection->SetBool(message, field, !reflection->GetBool(*message, field));
      case FieldDescriptor::CPPTYPE_ENUM:
        return reflection->SetEnumValue(
            message, field, MutateEnum(field, reflection->GetEnumValue(*message, field)));
      case FieldDescriptor::CPPTYPE_STRING:
        return reflection->SetString(message, field,
                                     MutateText(field, reflection->GetString(*message, field)));
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return Mutate(reflection->MutableMessage(message, field));
      default:
        // The contract has no others.
        std::abort();
    }
  }

  void AddEntry(Message* message, const FieldDescriptor* field) {
    const Reflection* reflection = message->GetReflection();
    const int size = reflection->FieldSize(*message, field);
    const bool copies = size > 0 && !OneIn(4);
    const int index = copies ? static_cast<int>(Below(static_cast<size_t>(size))) : 0;
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_UINT32:
        return reflection->AddUInt32(message, field, static_cast<uint32_t>(Below(8)));
      case FieldDescriptor::CPPTYPE_UINT64:
        return reflection->AddUInt64(message, field, Below(8));
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return reflection->AddDouble(message, field, MutateNumber(1.0));
      case FieldDescriptor::CPPTYPE_ENUM:
        return reflection->AddEnumValue(message, field, MutateEnum(field, 0));
      case FieldDescriptor::CPPTYPE_STRING:
        return reflection->AddString(
            message, field,
            copies ? reflection->GetRepeatedString(*message, field, index) : std::string("a"));
      case FieldDescriptor::CPPTYPE_MESSAGE: {
        Message* added = reflection->AddMessage(message, field);
        if (copies) added->CopyFrom(reflection->GetRepeatedMessage(*message, field, index));
        return;
      }
      default:
        std::abort();
    }
  }

  void MutateEntry(Message* message, const FieldDescriptor* field, int index) {
    const Reflection* reflection = message->GetReflection();
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_UINT32:
        return reflection->SetRepeatedUInt32(
            message, field, index,
            MutateNumber(reflection->GetRepeatedUInt32(*message, field, index)));
      case FieldDescriptor::CPPTYPE_UINT64:
        return reflection->SetRepeatedUInt64(
            message, field, index,
            MutateNumber(reflection->GetRepeatedUInt64(*message, field, index)));
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return reflection->SetRepeatedDouble(
            message, field, index,
            MutateNumber(reflection->GetRepeatedDouble(*message, field, index)));
      case FieldDescriptor::CPPTYPE_ENUM:
        return reflection->SetRepeatedEnumValue(
            message, field, index,
            MutateEnum(field, reflection->GetRepeatedEnumValue(*message, field, index)));
      case FieldDescriptor::CPPTYPE_STRING:
        return reflection->SetRepeatedString(
            message, field, index,
            MutateText(field, reflection->GetRepeatedString(*message, field, index)));
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return Mutate(reflection->MutableRepeatedMessage(message, field, index));
      default:
        std::abort();
    }
  }

  void MutateRepeated(Message* message, const FieldDescriptor* field) {
    const Reflection* reflection = message->GetReflection();
    const int size = reflection->FieldSize(*message, field);
    if (size == 0 || OneIn(4)) return AddEntry(message, field);
    const int index = static_cast<int>(Below(static_cast<size_t>(size)));
    switch (Below(4)) {
      case 0:
        reflection->SwapElements(message, field, index, size - 1);
        return reflection->RemoveLast(message, field);
      case 1:
        return reflection->SwapElements(message, field, index,
                                        static_cast<int>(Below(static_cast<size_t>(size))));
      default:
        return MutateEntry(message, field, index);
    }
  }

  std::minstd_rand& random_;
};

}  // namespace

void MutateField(Message* message, std::minstd_rand* random) { Mutator(random).Mutate(message); }

}  // namespace thermograd::fuzz
