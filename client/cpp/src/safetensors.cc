#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "src/little_endian.h"
#include "thermograd/client/tensor_file.h"

namespace thermograd::client {
namespace {

constexpr size_t kLengthBytes = 8;
// The format's own bound.
constexpr uint64_t kMaxHeaderBytes = 100'000'000;

absl::Status Malformed(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("not a readable .safetensors file: ", what));
}

absl::Status MalformedTensor(absl::string_view name, absl::string_view what) {
  return Malformed(absl::StrCat("tensor '", absl::Utf8SafeCEscape(name), "': ", what));
}

// What the header says of one tensor.
struct Declaration {
  std::string name;
  std::string dtype;
  std::vector<uint64_t> shape;
  // The tensor's bytes, as a range of what follows the header.
  uint64_t begin;
  uint64_t end;
};

// Sequences of bytes that encode one code point each; the third byte and the fourth, if there are
// any, are from 0x80 to 0xbf.
struct Utf8Range {
  unsigned char first_low;
  unsigned char first_high;
  unsigned char second_low;
  unsigned char second_high;
  size_t bytes;
};

// Unicode Standard, table 3-7, without the single bytes.
constexpr Utf8Range kUtf8Ranges[] = {{0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
                                     {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3},
                                     {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
                                     {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4}};

bool IsUtf8(absl::string_view text) {
  const auto byte = [&text](size_t i) { return static_cast<unsigned char>(text[i]); };
  while (!text.empty()) {
    if (byte(0) < 0x80) {
      text.remove_prefix(1);
      continue;
    }
    const auto* const range = std::find_if(
        std::begin(kUtf8Ranges), std::end(kUtf8Ranges),
        [&](const Utf8Range& r) { return r.first_low <= byte(0) && byte(0) <= r.first_high; });
    if (range == std::end(kUtf8Ranges) || text.size() < range->bytes ||
        byte(1) < range->second_low || byte(1) > range->second_high) {
      return false;
    }
    for (size_t i = 2; i < range->bytes; ++i) {
      if ((byte(i) & 0xc0) != 0x80) return false;
    }
    text.remove_prefix(range->bytes);
  }
  return true;
}

void AppendUtf8(uint32_t code_point, std::string& out) {
  const auto append = [&out](uint32_t byte) { out += static_cast<char>(byte); };
  if (code_point < 0x80) {
    append(code_point);
    return;
  }
  if (code_point < 0x800) {
    append(0xc0 | code_point >> 6);
  } else {
    if (code_point < 0x10000) {
      append(0xe0 | code_point >> 12);
    } else {
      append(0xf0 | code_point >> 18);
      append(0x80 | (code_point >> 12 & 0x3f));
    }
    append(0x80 | (code_point >> 6 & 0x3f));
  }
  append(0x80 | (code_point & 0x3f));
}

// Reads the header: of JSON, only the nesting that the format admits. So time and memory are
// proportional to its size, which protobuf's general parser does not promise.
class HeaderParser {
 public:
  explicit HeaderParser(absl::string_view text) : text_(text), rest_(text) {}

  absl::StatusOr<std::vector<Declaration>> Parse() {
    std::set<std::string> names;
    std::vector<Declaration> tensors;
    const bool read = TakeObject([&](const std::string& name) {
      if (!names.insert(name).second) return Fail("a name that was there before");
      if (name == "__metadata__") return TakeMetadata();
      tensors.emplace_back();
      tensors.back().name = name;
      return TakeTensor(tensors.back());
    });
    if (read && !AtEnd()) Fail("something after the object");
    if (failure_.empty()) return tensors;
    return Malformed(
        absl::StrCat("the header has, at byte ", text_.size() - rest_.size(), ", ", failure_));
  }

 private:
  // Remembers what was found that does not belong; `found` is a literal.
  bool Fail(absl::string_view found) {
    failure_ = found;
    return false;
  }

  void SkipSpace() {
    rest_.remove_prefix(std::min(rest_.find_first_not_of(" \t\n\r"), rest_.size()));
  }

  bool AtEnd() {
    SkipSpace();
    return rest_.empty();
  }

  bool Take(char c) {
    SkipSpace();
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }

  // An object; `take_value` gets each key and takes its value.
  template <typename TakeValue>
  bool TakeObject(TakeValue take_value) {
    if (!Take('{')) return Fail("no object where one belongs");
    if (Take('}')) return true;
    do {
      std::string key;
      if (!TakeString(key)) return false;
      if (!Take(':')) return Fail("no ':' after a key");
      if (!take_value(key)) return false;
    } while (Take(','));
    return Take('}') || Fail("an object that does not end");
  }

  bool TakeMetadata() {
    return TakeObject([this](const std::string&) {
      std::string value;
      return TakeString(value);
    });
  }

  bool TakeTensor(Declaration& tensor) {
    std::optional<std::string> dtype;
    std::optional<std::vector<uint64_t>> shape;
    std::optional<std::vector<uint64_t>> offsets;
    const bool read = TakeObject([&](const std::string& key) {
      if (key == "dtype" && !dtype.has_value()) return TakeString(dtype.emplace());
      if (key == "shape" && !shape.has_value()) return TakeIntegers(shape.emplace());
      if (key == "data_offsets" && !offsets.has_value()) return TakeIntegers(offsets.emplace());
      return Fail("an unknown or repeated key");
    });
    if (!read) return false;
    if (!dtype.has_value()) return Fail("a tensor without dtype");
    if (!shape.has_value()) return Fail("a tensor without shape");
    if (!offsets.has_value() || offsets->size() != 2) return Fail("a tensor without two offsets");
    tensor.dtype = *std::move(dtype);
    tensor.shape = *std::move(shape);
    tensor.begin = offsets->front();
    tensor.end = offsets->back();
    return true;
  }

  bool TakeIntegers(std::vector<uint64_t>& integers) {
    if (!Take('[')) return Fail("no array where one belongs");
    if (Take(']')) return true;
    do {
      SkipSpace();
      const size_t digits = std::min(rest_.find_first_not_of("0123456789"), rest_.size());
      uint64_t integer;
      if (!absl::SimpleAtoi(rest_.substr(0, digits), &integer)) {
        return Fail("no unsigned integer of 64 bits where one belongs");
      }
      rest_.remove_prefix(digits);
      integers.push_back(integer);
    } while (Take(','));
    return Take(']') || Fail("an array that does not end");
  }

  bool TakeString(std::string& out) {
    if (!Take('"')) return Fail("no string where one belongs");
    while (!rest_.empty()) {
      const char c = rest_.front();
      if (absl::ascii_iscntrl(static_cast<unsigned char>(c)) && c != '\x7f') {
        return Fail("a control character in a string");
      }
      rest_.remove_prefix(1);
      if (c == '"') return true;
      if (c != '\\') {
        out += c;
      } else if (!TakeEscape(out)) {
        return Fail("a broken escape in a string");
      }
    }
    return Fail("a string that does not end");
  }

  // What follows a backslash.
  bool TakeEscape(std::string& out) {
    constexpr absl::string_view kLetters = "\"\\/bfnrt";
    constexpr absl::string_view kMeanings = "\"\\/\b\f\n\r\t";
    if (rest_.empty()) return false;
    const char letter = rest_.front();
    rest_.remove_prefix(1);
    if (letter != 'u') {
      const size_t index = kLetters.find(letter);
      if (index == absl::string_view::npos) return false;
      out += kMeanings[index];
      return true;
    }
    uint32_t code_point = 0;
    if (!TakeCodeUnit(code_point)) return false;
    if (code_point >= 0xd800 && code_point < 0xe000) {
      // Half of a surrogate pair: the other half must follow.
      uint32_t low = 0;
      if (code_point >= 0xdc00 || !absl::ConsumePrefix(&rest_, "\\u") || !TakeCodeUnit(low) ||
          low < 0xdc00 || low >= 0xe000) {
        return false;
      }
      code_point = 0x10000 + ((code_point - 0xd800) << 10) + (low - 0xdc00);
    }
    AppendUtf8(code_point, out);
    return true;
  }

  // Four hexadecimal digits.
  bool TakeCodeUnit(uint32_t& unit) {
    const absl::string_view digits = rest_.substr(0, 4);
    if (digits.size() < 4 || !std::all_of(digits.begin(), digits.end(), absl::ascii_isxdigit) ||
        !absl::SimpleHexAtoi(digits, &unit)) {
      return false;
    }
    rest_.remove_prefix(4);
    return true;
  }

  const absl::string_view text_;
  absl::string_view rest_;
  absl::string_view failure_;
};

v1::DataType DataTypeOf(absl::string_view dtype) {
  if (dtype == "F16") return v1::DATA_TYPE_FP16;
  if (dtype == "BF16") return v1::DATA_TYPE_BF16;
  if (dtype == "F32") return v1::DATA_TYPE_FP32;
  if (dtype == "F64") return v1::DATA_TYPE_FP64;
  return v1::DATA_TYPE_UNSPECIFIED;
}

}  // namespace

absl::StatusOr<Safetensors> ParseSafetensors(absl::string_view file) {
  if (file.size() < kLengthBytes) return Malformed("it ends within the header's length");
  const uint64_t header_bytes = LoadLittleEndian(file.substr(0, kLengthBytes));
  const absl::string_view rest = file.substr(kLengthBytes);
  if (header_bytes > kMaxHeaderBytes) {
    return Malformed(absl::StrCat("the header has ", header_bytes, " bytes; at most ",
                                  kMaxHeaderBytes, " are read"));
  }
  if (header_bytes > rest.size()) return Malformed("it ends within the header");
  const absl::string_view json = rest.substr(0, header_bytes);
  const absl::string_view data = rest.substr(header_bytes);
  // JSON would let white space pass; the format does not.
  if (!absl::StartsWith(json, "{")) return Malformed("the header does not begin with '{'");
  if (!IsUtf8(json)) return Malformed("the header is not UTF-8");
  absl::StatusOr<std::vector<Declaration>> tensors = HeaderParser(json).Parse();
  if (!tensors.ok()) return tensors.status();
  // Empty tensors lie at the end of the tensor before them.
  std::sort(tensors->begin(), tensors->end(), [](const Declaration& a, const Declaration& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });

  Safetensors contents;
  uint64_t expected_begin = 0;
  for (Declaration& tensor : *tensors) {
    if (tensor.begin > tensor.end || tensor.end > data.size()) {
      return MalformedTensor(tensor.name,
                             absl::StrCat("data_offsets [", tensor.begin, ", ", tensor.end,
                                          "] are not within the ", data.size(), " bytes of data"));
    }
    if (tensor.begin != expected_begin) {
      return MalformedTensor(tensor.name,
                             absl::StrCat("its data begin at ", tensor.begin,
                                          " where the data before end at ", expected_begin));
    }
    expected_begin = tensor.end;
    const v1::DataType data_type = DataTypeOf(tensor.dtype);
    if (data_type == v1::DATA_TYPE_UNSPECIFIED) {
      contents.unsupported.push_back(std::move(tensor.name));
      continue;
    }
    TensorView view{data_type, std::move(tensor.shape),
                    data.substr(tensor.begin, tensor.end - tensor.begin)};
    if (absl::Status status = Validate(view); !status.ok()) {
      return MalformedTensor(tensor.name, status.message());
    }
    contents.tensors.push_back({std::move(tensor.name), std::move(view)});
  }
  if (expected_begin != data.size()) {
    return Malformed(
        absl::StrCat("the tensors end at ", expected_begin, " of ", data.size(), " bytes of data"));
  }
  return contents;
}

}  // namespace thermograd::client
