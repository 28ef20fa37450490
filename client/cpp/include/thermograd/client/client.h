#ifndef THERMOGRAD_CLIENT_CLIENT_H_
#define THERMOGRAD_CLIENT_CLIENT_H_

/// All of the client library.

#include "thermograd/client/channel.h"
#include "thermograd/client/queries.h"
#include "thermograd/client/run_stream.h"
#include "thermograd/client/step_reducer.h"
#include "thermograd/client/tensor.h"
#include "thermograd/client/tensor_file.h"

#endif  // THERMOGRAD_CLIENT_CLIENT_H_
