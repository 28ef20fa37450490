#include "service/loopback_address.h"

#include "gtest/gtest.h"

namespace thermograd::service {
namespace {

TEST(LoopbackAddress, IsWhatCannotLeaveTheMachine) {
  for (const char* address :
       {"127.0.0.1:50051", "127.3.2.1:0", "localhost:1", "[::1]:1", "::1:1", "dns:///localhost:1",
        "ipv4:127.0.0.1:1", "ipv6:[::1]:1", "unix:/run/thermograd.sock", "unix-abstract:name"}) {
    EXPECT_TRUE(IsLoopbackAddress(address)) << address;
  }
}

TEST(LoopbackAddress, IsNothingElse) {
  for (const char* address :
       {"0.0.0.0:50051", "[::]:1", "192.168.0.1:1", "128.0.0.1:1", "10.127.0.1:1", "host:1",
        "localhost.example.com:1", "127.0.0.1.example.com:1", "127.0.0.1", "9464", ":1", "",
        "[::1:1", "127.1:1", "127.0.0.1:1,9464", "0.0.0.0:1,127.0.0.1:2",
        "127.0.0.1:", "127.0.0.1:http", "[::ffff:10.0.0.1]:1"}) {
    EXPECT_FALSE(IsLoopbackAddress(address)) << address;
  }
}

}  // namespace
}  // namespace thermograd::service
