#ifndef THERMOGRAD_CLIENT_CLI_CONNECTION_H_
#define THERMOGRAD_CLIENT_CLI_CONNECTION_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/flags/declare.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "grpcpp/channel.h"

// Flags of every command that talks to a server.
ABSL_DECLARE_FLAG(std::string, address);
ABSL_DECLARE_FLAG(absl::Duration, timeout);
// Of the commands about one run.
ABSL_DECLARE_FLAG(std::string, affinity);

namespace thermograd::cli {

// A command's own flags and after them those that say which server to talk to, and how.
std::vector<absl::string_view> WithConnectionFlags(std::vector<absl::string_view> flags);

// A channel to the server that the flags name.
absl::StatusOr<std::shared_ptr<grpc::Channel>> Connect();

}  // namespace thermograd::cli

#endif  // THERMOGRAD_CLIENT_CLI_CONNECTION_H_
