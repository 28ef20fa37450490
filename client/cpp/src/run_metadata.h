#ifndef THERMOGRAD_CLIENT_SRC_RUN_METADATA_H_
#define THERMOGRAD_CLIENT_SRC_RUN_METADATA_H_

#include <string>

#include "grpcpp/client_context.h"
#include "thermograd/client/run_stream.h"

namespace thermograd::client {

// What every call about a run carries for load balancers.
inline void AddRunMetadata(const std::string& run, const std::string& affinity,
                           grpc::ClientContext& context) {
  context.AddMetadata(kRunMetadataKey, MetadataValue(run));
  context.AddMetadata(kAffinityMetadataKey, MetadataValue(affinity.empty() ? run : affinity));
}

}  // namespace thermograd::client

#endif  // THERMOGRAD_CLIENT_SRC_RUN_METADATA_H_
