#ifndef THERMOGRAD_TESTS_BENCHMARK_DISCARDING_SERVERS_H_
#define THERMOGRAD_TESTS_BENCHMARK_DISCARDING_SERVERS_H_

namespace thermograd {

// What Thermograd's ingest is measured against. Each listens on a port of its own on loopback, says
// where as the server does, and serves until SIGTERM; the result is the process's exit code.

/// Accepts any run over gRPC, takes every message and looks at none.
int ServeEmptyHandler();

/// Reads every byte of a TCP connection, then closes it; one connection at a time.
int ServeRawTcp();

}  // namespace thermograd

#endif  // THERMOGRAD_TESTS_BENCHMARK_DISCARDING_SERVERS_H_
