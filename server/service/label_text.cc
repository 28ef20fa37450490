#include "service/label_text.h"

#include <cstdint>

#include "absl/strings/str_cat.h"

namespace thermograd::service {

size_t Utf8SequenceLength(absl::string_view text) {
  const auto byte = [&](size_t i) -> uint32_t {
    return i < text.size() ? static_cast<uint8_t>(text[i]) : 0u;
  };
  const auto continues = [&](size_t i) { return (byte(i) & 0xc0u) == 0x80u; };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead < 0xc2) return 0;
  if (lead < 0xe0) return continues(1) ? 2 : 0;
  if (lead < 0xf0) {
    if (!continues(1) || !continues(2)) return 0;
    if (lead == 0xe0 && byte(1) < 0xa0) return 0;   // overlong
    if (lead == 0xed && byte(1) >= 0xa0) return 0;  // surrogate
    return 3;
  }
  if (lead > 0xf4 || !continues(1) || !continues(2) || !continues(3)) return 0;
  if (lead == 0xf0 && byte(1) < 0x90) return 0;   // overlong
  if (lead == 0xf4 && byte(1) >= 0x90) return 0;  // beyond U+10FFFF
  return 4;
}

namespace {

// Of the well-formed sequence at the start of a text.
uint32_t CodePoint(absl::string_view text, size_t length) {
  const auto lead = static_cast<uint8_t>(text[0]);
  if (length == 1) return lead;
  uint32_t point = lead & (0x7fu >> length);
  for (size_t i = 1; i < length; ++i) {
    point = point << 6 | (static_cast<uint8_t>(text[i]) & 0x3fu);
  }
  return point;
}

bool IsControl(uint32_t point) {
  if (point < 0x20 || (point >= 0x7f && point < 0xa0)) return true;
  // Separators of lines and paragraphs; what has Unicode's property Bidi_Control.
  return point == 0x2028 || point == 0x2029 || point == 0x61c || point == 0x200e ||
         point == 0x200f || (point >= 0x202a && point <= 0x202e) ||
         (point >= 0x2066 && point <= 0x2069);
}

}  // namespace

absl::Status CheckLabelText(absl::string_view field, absl::string_view text) {
  if (text.empty()) return absl::InvalidArgumentError(absl::StrCat(field, ": must not be empty"));
  for (size_t i = 0; i < text.size();) {
    const size_t length = Utf8SequenceLength(text.substr(i));
    if (length == 0) return absl::InvalidArgumentError(absl::StrCat(field, ": not valid UTF-8"));
    if (IsControl(CodePoint(text.substr(i), length))) {
      return absl::InvalidArgumentError(absl::StrCat(field, ": holds a control character"));
    }
    i += length;
  }
  return absl::OkStatus();
}

}  // namespace thermograd::service
