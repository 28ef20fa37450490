// Text that may become a label: what is refused is no plain text, and what is admitted comes out of
// the page that Prometheus reads as it went in, whatever it is the name of.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "export/run_collector.h"
#include "prometheus/text_serializer.h"
#include "service/label_text.h"
#include "tests/service/session_environment.h"

namespace {

using thermograd::metrics::Figures;

void Check(bool condition) {
  if (!condition) std::abort();
}

bool IsPrintableAscii(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

using Labels = std::map<std::string, std::string>;

// Reads `{name="value",...}` off the front of a line, as the format's grammar has it.
Labels ReadLabels(absl::string_view* line) {
  Labels labels;
  const auto take = [&](char c) {
    Check(!line->empty() && line->front() == c);
    line->remove_prefix(1);
  };
  take('{');
  while (true) {
    const size_t equals = line->find('=');
    Check(equals != absl::string_view::npos && equals > 0);
    const std::string name(line->substr(0, equals));
    line->remove_prefix(equals);
    take('=');
    take('"');
    std::string value;
    while (true) {
      Check(!line->empty());
      char c = line->front();
      line->remove_prefix(1);
      if (c == '"') break;
      if (c == '\\') {
        Check(!line->empty());
        c = line->front();
        line->remove_prefix(1);
        Check(c == '\\' || c == '"' || c == 'n');
        if (c == 'n') c = '\n';
      }
      value += c;
    }
    Check(labels.emplace(name, value).second);
    Check(!line->empty());
    if (line->front() == '}') break;
    take(',');
  }
  take('}');
  return labels;
}

void CheckPage(const std::string& page, const std::string& text) {
  std::set<std::string> series;
  size_t found = 0;
  for (absl::string_view line : absl::StrSplit(page, '\n', absl::SkipEmpty())) {
    if (line.front() == '#') continue;
    const size_t name_end = line.find_first_of("{ ");
    Check(name_end != absl::string_view::npos && name_end > 0);
    std::string key(line.substr(0, name_end));
    line.remove_prefix(name_end);
    if (line.front() == '{') {
      for (const auto& [name, value] : ReadLabels(&line)) {
        if (name == "run" || name == "parameter") {
          Check(value == text);
          ++found;
        }
        absl::StrAppend(&key, "\n", name, "=", value);
      }
    }
    Check(series.insert(key).second);
    double value = 0;
    Check(absl::ConsumePrefix(&line, " ") && absl::SimpleAtod(line, &value));
  }
  // The figure's run and parameter, those of its non-finite elements, NaN and infinite; the run's
  // own series come on top.
  Check(found > 2 + 4);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using thermograd::service::CheckLabelText;
  using thermograd::service::Limits;
  using thermograd::service::SessionEnvironment;
  using thermograd::service::Utf8SequenceLength;
  const std::string text(reinterpret_cast<const char*>(data), size);
  const absl::Status status = CheckLabelText("field", text);
  if (!status.ok()) {
    Check(absl::IsInvalidArgument(status));
    Check(text.empty() || !IsPrintableAscii(text));
    return 0;
  }
  Check(!text.empty());
  for (size_t i = 0; i < text.size();) {
    const size_t length = Utf8SequenceLength(absl::string_view(text).substr(i));
    Check(length > 0);
    i += length;
  }

  SessionEnvironment environment(Limits{}, 1 << 20);
  const uint64_t stream = environment.runs().Open({text}, 0, 1, [] {});
  const auto figures = std::make_shared<const Figures>(
      Figures{{.name = "thermograd_parameter_gradient_second_moment",
               .labels = {{"parameter", text}},
               .result = 1.0}});
  environment.runs().Publish(stream, 1, figures, std::make_shared<const Figures>(),
                             {{text, {.nans = 1, .infinities = 2}}}, 0);
  const thermograd::exporter::RunCollector collector(environment.Get());
  CheckPage(prometheus::TextSerializer().Serialize(collector.Collect()), text);
  return 0;
}
