#include "thermograd/client/channel.h"

#include <cstdlib>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/cpp/fake_server.h"
#include "thermograd/client/queries.h"
#include "thermograd/client/run_stream.h"

namespace thermograd::client {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string Write(const std::string& name, const std::string& content) {
  std::string path = absl::StrCat(::testing::TempDir(), "/channel-", name);
  std::ofstream(path) << content;
  return path;
}

TEST(NewChannel, EveryStreamCarriesTheToken) {
  std::string header;
  FakeServer server(
      {.stream_run = [&header](grpc::ServerContext& context, FakeHandlers::RunStreamTransport& t) {
        const auto found = context.client_metadata().find("authorization");
        if (found != context.client_metadata().end()) {
          header = std::string(found->second.data(), found->second.size());
        }
        t.Write(Accepted());
        return grpc::Status::OK;
      }});
  const auto open = [&server](const CredentialFiles& files) {
    const auto channel = NewChannel(server.address(), files);
    ASSERT_TRUE(channel.ok()) << channel.status();
    v1::RunSpec spec;
    spec.set_run("r");
    const auto stream = RunStream::Open(*channel, spec);
    ASSERT_TRUE(stream.ok()) << stream.status();
    EXPECT_TRUE((*stream)->Finish().ok());
  };
  open({.token_file = Write("token", "a-token-of-a-tenant\n")});
  EXPECT_EQ(header, "Bearer a-token-of-a-tenant");
  header.clear();
  open({});
  EXPECT_EQ(header, "");
}

TEST(NewChannel, SendsATokenInPlainTextToThisMachineOnly) {
  const std::string token = Write("token", "a-token-of-a-tenant");
  const std::string authorities = Write("authorities", "any");
  EXPECT_TRUE(NewChannel("localhost:1", {.token_file = token}).ok());
  EXPECT_TRUE(NewChannel("192.0.2.1:1", {.ca_file = authorities, .token_file = token}).ok());
  EXPECT_THAT(std::string(NewChannel("192.0.2.1:1", {.token_file = token}).status().message()),
              AllOf(HasSubstr("by TLS only"), Not(HasSubstr("a-token"))));
}

TEST(NewChannel, RefusesFilesThatAreNotAsTheyShouldBe) {
  for (const char* content : {"", "\n", "two words", "line\nbreak", "\xc3\xa4"}) {
    const auto channel = NewChannel("localhost:1", {.token_file = Write("token", content)});
    EXPECT_THAT(std::string(channel.status().message()),
                AllOf(HasSubstr("does not hold a token"), Not(HasSubstr("words"))));
  }
  EXPECT_EQ(NewChannel("localhost:1", {.ca_file = "/no/such/file"}).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_THAT(
      std::string(NewChannel("localhost:1", {.key_file = "/no/such/file"}).status().message()),
      HasSubstr("belong together"));
}

TEST(CredentialFiles, AreNamedByTheEnvironment) {
  setenv("THERMOGRAD_CA_FILE", "a", 1);
  setenv("THERMOGRAD_TOKEN_FILE", "t", 1);
  const CredentialFiles files = CredentialFiles::FromEnvironment();
  unsetenv("THERMOGRAD_CA_FILE");
  unsetenv("THERMOGRAD_TOKEN_FILE");
  EXPECT_EQ(files.ca_file, "a");
  EXPECT_EQ(files.token_file, "t");
  EXPECT_EQ(files.certificate_file, "");
}

}  // namespace
}  // namespace thermograd::client
