#ifndef THERMOGRAD_SERVICE_LABEL_TEXT_H_
#define THERMOGRAD_SERVICE_LABEL_TEXT_H_

#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace thermograd::service {

/// Length of the well-formed UTF-8 sequence at the start of `text` (Unicode 15, table 3-7), or 0.
size_t Utf8SequenceLength(absl::string_view text);

/// Admits text that may become a Prometheus label value: valid UTF-8, not empty, without control
/// characters, separators of lines, and controls of the direction of writing, by which a name would
/// read like another. One bad value would make Prometheus refuse the whole scrape.
/// `field` names the text in the error.
absl::Status CheckLabelText(absl::string_view field, absl::string_view text);

}  // namespace thermograd::service

#endif  // THERMOGRAD_SERVICE_LABEL_TEXT_H_
