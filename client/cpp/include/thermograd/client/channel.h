#ifndef THERMOGRAD_CLIENT_CHANNEL_H_
#define THERMOGRAD_CLIENT_CHANNEL_H_

#include <memory>
#include <string>

#include "grpcpp/channel.h"
#include "grpcpp/security/credentials.h"

namespace thermograd::client {

/// A channel to `address` (host:port, or any name that gRPC resolves) that takes reports of runs
/// with many thousands of parameters, for which gRPC's default of 4 MiB a message is too small, and
/// that notices within a minute when the server's machine is gone.
std::shared_ptr<grpc::Channel> NewChannel(
    const std::string& address, const std::shared_ptr<grpc::ChannelCredentials>& credentials);

}  // namespace thermograd::client

#endif  // THERMOGRAD_CLIENT_CHANNEL_H_
