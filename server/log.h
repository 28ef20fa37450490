#ifndef THERMOGRAD_LOG_H_
#define THERMOGRAD_LOG_H_

#include <string>
#include <utility>
#include <vector>

namespace thermograd {

/// Writes one line to standard error: a JSON object of the time, `event` and `fields`. Bytes that
/// are not valid UTF-8 become U+FFFD, for such a line would be no JSON.
void Log(const char* event, const std::vector<std::pair<const char*, std::string>>& fields);

/// From now on gRPC's own messages are lines of the same kind, of the event `grpc`; those that
/// repeat themselves at most once a minute.
void LogGrpc();

}  // namespace thermograd

#endif  // THERMOGRAD_LOG_H_
