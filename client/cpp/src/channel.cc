#include "thermograd/client/channel.h"

#include "grpc/grpc.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/support/channel_arguments.h"

namespace thermograd::client {

std::shared_ptr<grpc::Channel> NewChannel(
    const std::string& address, const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
  constexpr int kMaxReceiveBytes = 64 << 20;
  // Servers close connections that ping more often than every ten seconds.
  constexpr int kKeepaliveTimeMs = 30'000;
  constexpr int kKeepaliveTimeoutMs = 10'000;
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxReceiveBytes);
  // A peer that vanished without a word would otherwise go unnoticed for two hours.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveTimeMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  // By default gRPC stops pinging a stream that carries no data, such as one that awaits a report.
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  return grpc::CreateCustomChannel(address, credentials, arguments);
}

}  // namespace thermograd::client
