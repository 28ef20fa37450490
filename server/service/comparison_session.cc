#include "service/comparison_session.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "metrics/representation_similarity.h"
#include "service/messages.h"
#include "statistics/representation.h"

namespace thermograd::service {
namespace {

absl::StatusOr<size_t> IndexOf(const char* field, v1::ComparisonSide side) {
  if (side == v1::COMPARISON_SIDE_X) return 0;
  if (side == v1::COMPARISON_SIDE_Y) return 1;
  return absl::InvalidArgumentError(absl::StrCat(field, ": must be X or Y"));
}

}  // namespace

absl::Status ComparisonSession::Receive(const v1::CompareRepresentationsRequest& request) {
  switch (request.message_case()) {
    case v1::CompareRepresentationsRequest::kHeader:
      return ReceiveHeader(request.header());
    case v1::CompareRepresentationsRequest::kChunk:
      return ReceiveChunk(request.chunk());
    default:
      return absl::InvalidArgumentError("message: must be set");
  }
}

absl::Status ComparisonSession::ReceiveHeader(const v1::ComparisonHeader& header) {
  const absl::StatusOr<size_t> index = IndexOf("header.side", header.side());
  if (!index.ok()) return index.status();
  if (sides_[*index]) return absl::InvalidArgumentError("header.side: was sent already");
  if (const auto width = ElementBytes(header.data_type()); !width.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("header.", width.status().message()));
  }
  const uint64_t most = limits_.max_stream_bytes / sizeof(double);
  if (header.samples() == 0 || header.features() == 0) {
    return absl::InvalidArgumentError("header: samples and features must be at least 1");
  }
  if (header.samples() > limits_.max_samples) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "header.samples: ", header.samples(), ", the limit max_samples is ", limits_.max_samples));
  }
  if (header.features() > most / header.samples()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("header.features: ", header.features(),
                     ", the matrix exceeds max_stream_bytes = ", limits_.max_stream_bytes));
  }
  const std::optional<Side>& other = sides_[1 - *index];
  if (other && other->header.samples() != header.samples()) {
    return absl::InvalidArgumentError(absl::StrCat("header.samples: ", header.samples(), " and ",
                                                   other->header.samples(), " differ"));
  }
  if (other && !other->header.fingerprint().empty() && !header.fingerprint().empty() &&
      other->header.fingerprint() != header.fingerprint()) {
    return absl::InvalidArgumentError("header.fingerprint: the two sides saw different samples");
  }
  const uint64_t elements = header.samples() * header.features();
  if (!memory_.Take((elements + header.samples() * header.samples()) * sizeof(double))) {
    return absl::ResourceExhaustedError("header: the server's memory budget is used up");
  }
  Side side;
  side.header = header;
  sides_[*index] = std::move(side);
  return absl::OkStatus();
}

absl::Status ComparisonSession::ReceiveChunk(const v1::ComparisonChunk& chunk) {
  const absl::StatusOr<size_t> index = IndexOf("chunk.side", chunk.side());
  if (!index.ok()) return index.status();
  if (!sides_[0] || !sides_[1]) {
    return absl::InvalidArgumentError("header: both sides' headers come before any chunk");
  }
  Side& side = *sides_[*index];
  if (chunk.offset() != side.values.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("chunk.offset: ", chunk.offset(), ", expected ", side.values.size()));
  }
  const absl::StatusOr<Elements> elements = decoder_.Decode(side.header.data_type(), chunk.data());
  if (!elements.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("chunk.", elements.status().message()));
  }
  const uint64_t size = side.header.samples() * side.header.features();
  if (elements->size() > size - side.values.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("chunk.data: goes beyond the ", size, " elements of the matrix"));
  }
  const auto add = [&](auto values) {
    for (const auto value : values) {
      side.finite = side.finite && std::isfinite(value);
      side.values.push_back(static_cast<double>(value));
    }
  };
  if (elements->is_double) {
    add(elements->doubles);
  } else {
    add(elements->floats);
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::CompareRepresentationsResponse> ComparisonSession::Finish() const {
  for (const std::optional<Side>& side : sides_) {
    if (!side) return absl::InvalidArgumentError("header: both sides are required");
    const uint64_t size = side->header.samples() * side->header.features();
    if (side->values.size() != size) {
      return absl::InvalidArgumentError(
          absl::StrCat("chunk.data: ", side->values.size(), " of ", size, " elements of ",
                       v1::ComparisonSide_Name(side->header.side()), " were sent"));
    }
  }
  const Side& x = *sides_[0];
  const Side& y = *sides_[1];
  metrics::Result biased = metrics::Undefined::kNonFiniteInput;
  metrics::Result unbiased = metrics::Undefined::kNonFiniteInput;
  const size_t n = x.header.samples();
  if (x.finite && y.finite) {
    const statistics::Gram k = statistics::CentredGram(x.values, n, x.header.features());
    const statistics::Gram l = statistics::CentredGram(y.values, n, y.header.features());
    biased = metrics::BiasedCka(k, l);
    unbiased = metrics::UnbiasedCka(k, l);
  }
  const auto rank = [n](const Side& side) -> metrics::Result {
    if (!side.finite) return metrics::Undefined::kNonFiniteInput;
    return metrics::EffectiveRank(side.values, n, side.header.features());
  };
  v1::CompareRepresentationsResponse response;
  WriteFigures({{"thermograd_cka_ratio", {}, biased},
                {"thermograd_cka_unbiased_ratio", {}, unbiased},
                {"thermograd_effective_rank", {{"layer", "x"}}, rank(x)},
                {"thermograd_effective_rank", {{"layer", "y"}}, rank(y)}},
               &response);
  return response;
}

}  // namespace thermograd::service
