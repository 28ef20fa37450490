#include "src/npy.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
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

// The bound of NumPy's own reader.
constexpr size_t kMaxHeaderBytes = 10000;

absl::Status Malformed(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("not a readable .npy file: ", what));
}

struct Header {
  std::optional<absl::string_view> descr;
  std::optional<bool> fortran_order;
  std::optional<std::vector<uint64_t>> shape;
};

// Reads the header: a Python dict literal with the keys descr, fortran_order and shape, of which
// only the few forms that NumPy writes for plain arrays are admitted.
class HeaderParser {
 public:
  explicit HeaderParser(absl::string_view text) : rest_(text) {}

  absl::StatusOr<Header> Parse() {
    Header header;
    if (!Take('{')) return Malformed("the header is not a dict");
    while (!Take('}')) {
      const std::optional<absl::string_view> key = TakeString();
      if (!key.has_value() || !Take(':')) return Malformed("the header has a broken key");
      if (*key == "descr" && !header.descr.has_value()) {
        header.descr = TakeString();
        if (!header.descr.has_value()) return Malformed("structured data types are not supported");
      } else if (*key == "fortran_order" && !header.fortran_order.has_value()) {
        header.fortran_order = TakeBool();
        if (!header.fortran_order.has_value()) return Malformed("fortran_order is not a bool");
      } else if (*key == "shape" && !header.shape.has_value()) {
        header.shape = TakeShape();
        if (!header.shape.has_value()) return Malformed("shape is not a tuple of extents");
      } else {
        return Malformed("the header has an unknown or repeated key");
      }
      if (!Take(',') && !Peek('}')) return Malformed("the header has a broken dict");
    }
    SkipSpace();
    if (!rest_.empty()) return Malformed("something follows the header's dict");
    if (!header.descr || !header.fortran_order || !header.shape) {
      return Malformed("the header lacks descr, fortran_order or shape");
    }
    return header;
  }

 private:
  void SkipSpace() { rest_ = absl::StripLeadingAsciiWhitespace(rest_); }

  bool Peek(char c) {
    SkipSpace();
    return !rest_.empty() && rest_.front() == c;
  }

  bool Take(char c) {
    if (!Peek(c)) return false;
    rest_.remove_prefix(1);
    return true;
  }

  bool TakeWord(absl::string_view word) {
    SkipSpace();
    if (!absl::StartsWith(rest_, word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }

  // A quoted string without escapes: neither a key nor a plain data type has any.
  std::optional<absl::string_view> TakeString() {
    SkipSpace();
    if (rest_.empty() || (rest_.front() != '\'' && rest_.front() != '"')) return std::nullopt;
    const size_t end = rest_.find(rest_.front(), 1);
    if (end == absl::string_view::npos) return std::nullopt;
    const absl::string_view text = rest_.substr(1, end - 1);
    rest_.remove_prefix(end + 1);
    return text;
  }

  std::optional<bool> TakeBool() {
    if (TakeWord("True")) return true;
    if (TakeWord("False")) return false;
    return std::nullopt;
  }

  std::optional<std::vector<uint64_t>> TakeShape() {
    if (!Take('(')) return std::nullopt;
    std::vector<uint64_t> shape;
    while (!Take(')')) {
      SkipSpace();
      const size_t digits = std::min(rest_.find_first_not_of("0123456789"), rest_.size());
      uint64_t extent;
      if (!absl::SimpleAtoi(rest_.substr(0, digits), &extent)) return std::nullopt;
      rest_.remove_prefix(digits);
      // Python 2 wrote long integers so.
      if (!rest_.empty() && rest_.front() == 'L') rest_.remove_prefix(1);
      shape.push_back(extent);
      // Without a comma, one extent in parentheses would be an integer and no tuple.
      if (!Take(',') && !(shape.size() > 1 && Peek(')'))) return std::nullopt;
    }
    return shape;
  }

  absl::string_view rest_;
};

absl::StatusOr<v1::DataType> DataTypeOf(absl::string_view descr) {
  if (descr == "<f2") return v1::DATA_TYPE_FP16;
  if (descr == "<f4") return v1::DATA_TYPE_FP32;
  if (descr == "<f8") return v1::DATA_TYPE_FP64;
  if (absl::StartsWith(descr, ">")) {
    return Malformed(absl::StrCat("data type '", absl::CHexEscape(descr),
                                  "' is big-endian; save it with little-endian elements"));
  }
  return Malformed(absl::StrCat("data type '", absl::CHexEscape(descr),
                                "' is not supported; '<f2', '<f4' and '<f8' are"));
}

}  // namespace

absl::StatusOr<TensorView> ParseNpy(absl::string_view file) {
  absl::string_view rest = file;
  if (!absl::ConsumePrefix(&rest, kNpyMagic)) return Malformed("it does not begin with the magic");
  if (rest.size() < 2) return Malformed("it ends within the format version");
  const int version = static_cast<unsigned char>(rest[0]);
  rest.remove_prefix(2);
  if (version < 1 || version > 3) {
    return Malformed(absl::StrCat("format version ", version, " is not known"));
  }
  const size_t length_bytes = version == 1 ? 2 : 4;
  if (rest.size() < length_bytes) return Malformed("it ends within the header's length");
  const uint64_t header_bytes = LoadLittleEndian(rest.substr(0, length_bytes));
  rest.remove_prefix(length_bytes);
  if (header_bytes > kMaxHeaderBytes) {
    return Malformed(absl::StrCat("the header has ", header_bytes, " bytes; at most ",
                                  kMaxHeaderBytes, " are read"));
  }
  if (rest.size() < header_bytes) return Malformed("it ends within the header");
  absl::StatusOr<Header> header = HeaderParser(rest.substr(0, header_bytes)).Parse();
  if (!header.ok()) return header.status();
  rest.remove_prefix(header_bytes);

  const absl::StatusOr<v1::DataType> data_type = DataTypeOf(*header->descr);
  if (!data_type.ok()) return data_type.status();
  if (*header->fortran_order) {
    return Malformed("the array is in Fortran order; save numpy.ascontiguousarray(array)");
  }
  TensorView array{*data_type, *std::move(header->shape), rest};
  if (absl::Status status = Validate(array); !status.ok()) return Malformed(status.message());
  return array;
}

}  // namespace thermograd::client
