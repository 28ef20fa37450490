#include "log.h"

#include <grpc/support/log.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "service/label_text.h"

namespace thermograd {
namespace {

void AppendJsonString(absl::string_view text, std::string* line) {
  *line += '"';
  while (!text.empty()) {
    const size_t length = service::Utf8SequenceLength(text);
    const auto lead = static_cast<uint8_t>(text[0]);
    if (length == 0) {
      *line += "\\ufffd";
    } else if (lead < 0x20) {
      absl::StrAppendFormat(line, "\\u%04x", lead);
    } else {
      if (lead == '"' || lead == '\\') *line += '\\';
      absl::StrAppend(line, text.substr(0, length));
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  *line += '"';
}

// What strangers provoke, such as handshakes that fail, must not fill the log: of each place of
// gRPC's source a line a minute.
bool IsDue(const gpr_log_func_args& message) {
  using Clock = std::chrono::steady_clock;
  static std::mutex mutex;
  static auto* const latest = new std::map<std::pair<std::string, int>, Clock::time_point>;
  const Clock::time_point now = Clock::now();
  const std::lock_guard lock(mutex);
  const auto [entry, is_new] = latest->try_emplace({message.file, message.line}, now);
  if (!is_new && now - entry->second < std::chrono::minutes(1)) return false;
  entry->second = now;
  return true;
}

}  // namespace

void Log(const char* event, const std::vector<std::pair<const char*, std::string>>& fields) {
  char time[32];
  const std::time_t now = std::time(nullptr);
  std::tm utc;
  std::strftime(time, sizeof(time), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
  std::string line = absl::StrCat("{\"time\":\"", time, "\",\"event\":\"", event, "\"");
  for (const auto& [name, value] : fields) {
    absl::StrAppend(&line, ",\"", name, "\":");
    AppendJsonString(value, &line);
  }
  line += "}\n";
  // In one piece: lines of several threads must not mix.
  std::fwrite(line.data(), 1, line.size(), stderr);
}

void LogGrpc() {
  gpr_set_log_function([](gpr_log_func_args* args) {
    if (!IsDue(*args)) return;
    Log("grpc", {{"severity", gpr_log_severity_string(args->severity)},
                 {"source", absl::StrCat(args->file, ":", args->line)},
                 {"message", args->message}});
  });
}

}  // namespace thermograd
