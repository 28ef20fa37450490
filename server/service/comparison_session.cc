#include "service/comparison_session.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/reduce.h"
#include "metrics/representation_collapse.h"
#include "service/decode.h"
#include "service/limit_status.h"
#include "service/messages.h"
#include "service/similarity_options.h"

namespace thermograd::service {
namespace {

using metrics::SimilarityScope;
using metrics::Undefined;

absl::StatusOr<size_t> IndexOf(const char* field, v1::ComparisonSide side) {
  if (side == v1::COMPARISON_SIDE_X) return 0;
  if (side == v1::COMPARISON_SIDE_Y) return 1;
  return absl::InvalidArgumentError(absl::StrCat(field, ": must be X or Y"));
}

}  // namespace

absl::Status ComparisonSession::Receive(const v1::CompareRepresentationsRequest& request) {
  switch (request.message_case()) {
    case v1::CompareRepresentationsRequest::kOptions:
      return ReceiveOptions(request.options());
    case v1::CompareRepresentationsRequest::kHeader:
      return ReceiveHeader(request.header());
    case v1::CompareRepresentationsRequest::kChunk:
      return ReceiveChunk(request.chunk());
    default:
      return absl::InvalidArgumentError("message: must be set");
  }
}

absl::Status ComparisonSession::ReceiveOptions(const v1::SimilarityOptions& options) {
  if (has_options_) return absl::InvalidArgumentError("options: were sent already");
  if (sides_[0] && sides_[1]) {
    return absl::InvalidArgumentError("options: come before both sides' headers");
  }
  absl::StatusOr<metrics::SimilarityOptions> checked =
      CheckSimilarityOptions("options", options, DefaultSimilaritiesOfComparisons(), limits_);
  if (!checked.ok()) return checked.status();
  options_ = *std::move(checked);
  has_options_ = true;
  has_choice_ = options.similarities_size() > 0;
  return absl::OkStatus();
}

absl::Status ComparisonSession::ReceiveHeader(const v1::ComparisonHeader& header) {
  const absl::StatusOr<size_t> index = IndexOf("header.side", header.side());
  if (!index.ok()) return index.status();
  if (sides_[*index]) return absl::InvalidArgumentError("header.side: was sent already");
  if (const auto width = ElementBytes(header.data_type()); !width.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("header.", width.status().message()));
  }
  if (header.samples() == 0 || header.features() == 0) {
    return absl::InvalidArgumentError("header: samples and features must be at least 1");
  }
  if (header.features() > limits_.max_elements / header.samples()) {
    return LimitExceeded(
        Limit::max_elements, limits_,
        absl::StrCat("header.features: ", header.features(), " of ", header.samples(), " samples"));
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
  Side side;
  side.header = header;
  sides_[*index] = std::move(side);
  return sides_[0] && sides_[1] ? Start() : absl::OkStatus();
}

absl::Status ComparisonSession::Start() {
  if (!has_options_) {
    absl::StatusOr<metrics::SimilarityOptions> defaults =
        CheckSimilarityOptions("options", {}, DefaultSimilaritiesOfComparisons(), limits_);
    if (!defaults.ok()) return defaults.status();
    options_ = *std::move(defaults);
  }
  const uint64_t n = sides_[0]->header.samples();
  const uint64_t p = sides_[0]->header.features();
  const uint64_t q = sides_[1]->header.features();
  uint64_t bytes = 0;
  const bool is_beyond = n > limits_.max_samples;
  const bool sums_only = is_beyond || metrics::PrefersMoments(n, p, q, options_);
  if (sums_only) {
    // Beyond this width the squares alone exceed the limit, or 64 bits.
    if (is_beyond && std::max(p, q) > (uint64_t{1} << 24)) {
      return LimitExceeded(
          Limit::max_stream_bytes, limits_,
          absl::StrCat("header.features: the moments of ", std::max(p, q),
                       ", which more than max_samples = ", limits_.max_samples, " samples need"));
    }
    // The moments, their copies while components are sought, and rows that await the other side's.
    bytes = 4 * statistics::CrossMoments::Bytes(p, q) + PendingBytes();
  } else {
    bytes = n * (p + q) * sizeof(double) + metrics::PreparationBytes(n, p, options_) +
            metrics::PreparationBytes(n, q, options_);
  }
  const std::string what =
      absl::StrCat("header: the comparison of ", n, " x ", p, " with ", n, " x ", q, " elements");
  if (bytes > limits_.max_stream_bytes) {
    return LimitExceeded(Limit::max_stream_bytes, limits_,
                         absl::StrCat(what, " takes ", bytes, " bytes"));
  }
  double seconds = sums_only ? metrics::MomentsCpuSeconds(n, p, q, options_)
                             : metrics::PreparationCpuSeconds(n, p, options_) +
                                   metrics::PreparationCpuSeconds(n, q, options_) +
                                   metrics::ComparisonCpuSeconds(n, p, q, options_);
  if (!has_choice_ && !sums_only) {
    seconds += metrics::SpectrumCpuSeconds(n, p) + metrics::SpectrumCpuSeconds(n, q);
  }
  if (seconds > static_cast<double>(limits_.max_request_cpu_seconds)) {
    return LimitExceeded(
        Limit::max_request_cpu_seconds, limits_,
        absl::StrCat(what, " would take about ", std::ceil(seconds), " s of CPU time"));
  }
  if (!memory_.Take(bytes)) {
    return LimitExceeded(admission_->memory_limit(bytes),
                         absl::StrCat(what, " takes ", bytes, " bytes"));
  }
  if (sums_only) moments_.emplace(p, q);
  return absl::OkStatus();
}

uint64_t ComparisonSession::PendingBytes() const {
  const uint64_t n = sides_[0]->header.samples();
  // The chunks of so few need not alternate.
  if (n <= limits_.max_samples) {
    return n * (sides_[0]->header.features() + sides_[1]->header.features()) * sizeof(double);
  }
  // Several chunks of the largest size, widened to fp64, and a row of each side.
  constexpr uint64_t kChunks = 4;
  const uint64_t row = sides_[0]->header.features() + sides_[1]->header.features();
  return (kChunks * limits_.max_chunk_bytes / 2 + row) * sizeof(double);
}

absl::Status ComparisonSession::ReceiveChunk(const v1::ComparisonChunk& chunk) {
  const absl::StatusOr<size_t> index = IndexOf("chunk.side", chunk.side());
  if (!index.ok()) return index.status();
  if (!sides_[0] || !sides_[1]) {
    return absl::InvalidArgumentError("header: both sides' headers come before any chunk");
  }
  if (chunk.data().size() > limits_.max_chunk_bytes) {
    return LimitExceeded(Limit::max_chunk_bytes, limits_,
                         absl::StrCat("chunk.data: ", chunk.data().size(), " bytes"));
  }
  Side& side = *sides_[*index];
  if (chunk.offset() != side.received) {
    return absl::InvalidArgumentError(
        absl::StrCat("chunk.offset: ", chunk.offset(), ", expected ", side.received));
  }
  const absl::StatusOr<Elements> elements = Decode(side.header.data_type(), chunk.data());
  if (!elements.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("chunk.", elements.status().message()));
  }
  const uint64_t size = side.header.samples() * side.header.features();
  if (elements->count > size - side.received) {
    return absl::InvalidArgumentError(
        absl::StrCat("chunk.data: goes beyond the ", size, " elements of the matrix"));
  }
  const size_t end = side.values.size();
  side.values.resize(end + elements->count);
  kernels::Moments moments;
  kernels::AddMomentsAndSet(*elements, 0, 1, &moments, side.values.data() + end);
  side.finite = side.finite && moments.nans + moments.infinities == 0;
  side.received += elements->count;
  if (moments_) {
    AddRows();
    if ((sides_[0]->values.size() + sides_[1]->values.size()) * sizeof(double) > PendingBytes()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "chunk.side: one side is too far ahead of the other; of more than max_samples = ",
          limits_.max_samples, " samples the chunks of both sides must alternate"));
    }
  }
  return absl::OkStatus();
}

void ComparisonSession::AddRows() {
  Side& x = *sides_[0];
  Side& y = *sides_[1];
  const uint64_t p = x.header.features();
  const uint64_t q = y.header.features();
  const uint64_t rows = std::min(x.values.size() / p, y.values.size() / q);
  if (rows == 0) return;
  if (x.finite && y.finite) {
    moments_->Add({x.values.data(), rows * p}, {y.values.data(), rows * q}, rows);
  }
  x.values.erase(x.values.begin(), x.values.begin() + static_cast<ptrdiff_t>(rows * p));
  y.values.erase(y.values.begin(), y.values.begin() + static_cast<ptrdiff_t>(rows * q));
}

absl::StatusOr<v1::CompareRepresentationsResponse> ComparisonSession::Finish() {
  for (const std::optional<Side>& side : sides_) {
    if (!side) return absl::InvalidArgumentError("header: both sides are required");
    const uint64_t size = side->header.samples() * side->header.features();
    if (side->received != size) {
      return absl::InvalidArgumentError(
          absl::StrCat("chunk.data: ", side->received, " of ", size, " elements of ",
                       v1::ComparisonSide_Name(side->header.side()), " were sent"));
    }
  }
  const Side& x = *sides_[0];
  const Side& y = *sides_[1];
  const size_t n = x.header.samples();
  metrics::Figures figures;
  if (!x.finite || !y.finite) {
    metrics::AppendUndefinedSimilarities(options_, Undefined::kNonFiniteInput,
                                         SimilarityScope::kLayers, {}, &figures);
  } else if (moments_) {
    metrics::AppendSimilarities(*moments_, options_, SimilarityScope::kLayers, {}, &figures);
  } else {
    metrics::AppendSimilarities(metrics::Prepare(x.values, n, x.header.features(), options_),
                                metrics::Prepare(y.values, n, y.header.features(), options_),
                                options_, SimilarityScope::kLayers, {}, &figures);
  }
  for (const auto& [name, side] : {std::pair{"x", &x}, std::pair{"y", &y}}) {
    // Nobody asked for more than the similarities.
    if (has_choice_) break;
    const std::vector<metrics::Label> labels = {{"layer", name}};
    if (!side->finite) {
      metrics::AppendUndefinedCollapseFigures(Undefined::kNonFiniteInput, labels, &figures);
    } else if (moments_) {
      metrics::AppendUndefinedCollapseFigures(Undefined::kLimit, labels, &figures);
    } else {
      metrics::AppendCollapseFigures(side->values, n, side->header.features(), labels, &figures);
    }
  }
  v1::CompareRepresentationsResponse response;
  WriteFigures(figures, &response);
  return response;
}

}  // namespace thermograd::service
