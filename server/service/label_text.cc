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

absl::Status CheckLabelText(absl::string_view field, absl::string_view text) {
  if (text.empty()) return absl::InvalidArgumentError(absl::StrCat(field, ": must not be empty"));
  for (size_t i = 0; i < text.size();) {
    const size_t length = Utf8SequenceLength(text.substr(i));
    if (length == 0) return absl::InvalidArgumentError(absl::StrCat(field, ": not valid UTF-8"));
    const auto lead = static_cast<uint8_t>(text[i]);
    const bool c1 = lead == 0xc2 && static_cast<uint8_t>(text[i + 1]) < 0xa0;
    if (lead < 0x20 || lead == 0x7f || c1) {
      return absl::InvalidArgumentError(absl::StrCat(field, ": holds a control character"));
    }
    i += length;
  }
  return absl::OkStatus();
}

}  // namespace thermograd::service
