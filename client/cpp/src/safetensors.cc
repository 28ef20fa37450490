#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "src/little_endian.h"
#include "thermograd/client/tensor_file.h"

namespace thermograd::client {
namespace {

using google::protobuf::Struct;
using google::protobuf::Value;

constexpr size_t kLengthBytes = 8;
// Room for some 100,000 tensors. The format's own bound is 100 MB, which as a parsed Struct would
// take gigabytes.
constexpr uint64_t kMaxHeaderBytes = uint64_t{16} << 20;
// JSON numbers pass through a double; up to here it holds every integer.
constexpr double kMaxExactInteger = 9007199254740992.0;

absl::Status Malformed(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("not a readable .safetensors file: ", what));
}

absl::Status MalformedTensor(absl::string_view name, absl::string_view what) {
  return Malformed(absl::StrCat("tensor '", absl::Utf8SafeCEscape(name), "': ", what));
}

// A tensor's bytes, as a range of what follows the header.
struct Extent {
  uint64_t begin;
  uint64_t end;
};

struct Entry {
  NamedTensor named;
  Extent extent;
};

std::optional<std::vector<uint64_t>> Integers(const Struct& fields, const std::string& key) {
  const auto field = fields.fields().find(key);
  if (field == fields.fields().end() || !field->second.has_list_value()) return std::nullopt;
  std::vector<uint64_t> integers;
  for (const Value& value : field->second.list_value().values()) {
    const double number = value.has_number_value() ? value.number_value() : -1;
    if (!(number >= 0 && number <= kMaxExactInteger && number == std::floor(number))) {
      return std::nullopt;
    }
    integers.push_back(static_cast<uint64_t>(number));
  }
  return integers;
}

std::optional<std::string> Text(const Struct& fields, const std::string& key) {
  const auto field = fields.fields().find(key);
  if (field == fields.fields().end() || !field->second.has_string_value()) return std::nullopt;
  return field->second.string_value();
}

v1::DataType DataTypeOf(absl::string_view dtype) {
  if (dtype == "F16") return v1::DATA_TYPE_FP16;
  if (dtype == "BF16") return v1::DATA_TYPE_BF16;
  if (dtype == "F32") return v1::DATA_TYPE_FP32;
  if (dtype == "F64") return v1::DATA_TYPE_FP64;
  return v1::DATA_TYPE_UNSPECIFIED;
}

absl::StatusOr<Entry> ParseEntry(const std::string& name, const Value& value,
                                 absl::string_view data) {
  if (!value.has_struct_value()) return MalformedTensor(name, "its entry is not an object");
  const Struct& fields = value.struct_value();
  const std::optional<std::string> dtype = Text(fields, "dtype");
  if (!dtype.has_value()) return MalformedTensor(name, "dtype is not a string");
  std::optional<std::vector<uint64_t>> shape = Integers(fields, "shape");
  if (!shape.has_value()) return MalformedTensor(name, "shape is not a list of extents");
  const std::optional<std::vector<uint64_t>> offsets = Integers(fields, "data_offsets");
  if (!offsets.has_value() || offsets->size() != 2) {
    return MalformedTensor(name, "data_offsets is not a pair of offsets");
  }
  const Extent extent{offsets->front(), offsets->back()};
  if (extent.begin > extent.end || extent.end > data.size()) {
    return MalformedTensor(name,
                           absl::StrCat("data_offsets [", extent.begin, ", ", extent.end,
                                        "] are not within the ", data.size(), " bytes of data"));
  }
  TensorView tensor{DataTypeOf(*dtype), *std::move(shape),
                    data.substr(extent.begin, extent.end - extent.begin)};
  if (tensor.data_type != v1::DATA_TYPE_UNSPECIFIED) {
    if (absl::Status status = Validate(tensor); !status.ok()) {
      return MalformedTensor(name, status.message());
    }
  }
  return Entry{{name, std::move(tensor)}, extent};
}

}  // namespace

absl::StatusOr<Safetensors> ParseSafetensors(absl::string_view file) {
  if (file.size() < kLengthBytes) return Malformed("it ends within the header's length");
  const uint64_t header_bytes = LoadLittleEndian(file.substr(0, kLengthBytes));
  const absl::string_view rest = file.substr(kLengthBytes);
  if (header_bytes > rest.size()) return Malformed("it ends within the header");
  if (header_bytes > kMaxHeaderBytes) {
    return Malformed(absl::StrCat("the header has ", header_bytes, " bytes; at most ",
                                  kMaxHeaderBytes, " are read"));
  }
  const absl::string_view json = rest.substr(0, header_bytes);
  const absl::string_view data = rest.substr(header_bytes);
  // The format demands it; the JSON parser would let white space pass.
  if (!absl::StartsWith(json, "{")) return Malformed("the header does not begin with '{'");
  Struct header;
  const auto parsed = google::protobuf::util::JsonStringToMessage(
      google::protobuf::StringPiece(json.data(), json.size()), &header);
  if (!parsed.ok()) {
    return Malformed(absl::StrCat("the header is not JSON: ", parsed.message().as_string()));
  }

  std::vector<Entry> entries;
  for (const auto& [name, value] : header.fields()) {
    if (name == "__metadata__") continue;
    absl::StatusOr<Entry> entry = ParseEntry(name, value, data);
    if (!entry.ok()) return entry.status();
    entries.push_back(*std::move(entry));
  }
  // By name where the data are empty, for the map has no order of its own.
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.extent.begin, a.extent.end, a.named.name) <
           std::tie(b.extent.begin, b.extent.end, b.named.name);
  });

  Safetensors contents;
  uint64_t expected_begin = 0;
  for (Entry& entry : entries) {
    if (entry.extent.begin != expected_begin) {
      return MalformedTensor(entry.named.name,
                             absl::StrCat("its data begin at ", entry.extent.begin,
                                          " where the data before end at ", expected_begin));
    }
    expected_begin = entry.extent.end;
    if (entry.named.tensor.data_type == v1::DATA_TYPE_UNSPECIFIED) {
      contents.unsupported.push_back(std::move(entry.named.name));
    } else {
      contents.tensors.push_back(std::move(entry.named));
    }
  }
  if (expected_begin != data.size()) {
    return Malformed(
        absl::StrCat("the tensors end at ", expected_begin, " of ", data.size(), " bytes of data"));
  }
  return contents;
}

}  // namespace thermograd::client
