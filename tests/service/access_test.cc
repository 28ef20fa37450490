#include "service/access.h"

#include <sys/stat.h>

#include <atomic>
#include <cstdio>
#include <fstream>
#include <thread>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thermograd::service {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kAlpha[] = "alpha's-secret-0123456789";
constexpr char kAlphasNext[] = "alpha's-next-secret";
constexpr char kBeta[] = "beta's-secret-####";

class AccessTest : public ::testing::Test {
 protected:
  ~AccessTest() override { std::remove(path_.c_str()); }

  void Write(const std::string& content, mode_t mode = 0600) {
    std::ofstream(path_) << content;
    ASSERT_EQ(chmod(path_.c_str(), mode), 0);
  }
  absl::StatusOr<std::unique_ptr<AccessFile>> Open() { return AccessFile::Open("--file", path_); }
  // Once it is seen, and once more when it has stood.
  static absl::StatusOr<bool> Reload(AccessFile& file) {
    const absl::StatusOr<bool> first = file.Reload();
    EXPECT_TRUE(first.ok() && !*first);
    return file.Reload();
  }

  const std::string path_ =
      absl::StrCat(::testing::TempDir(), "/access-",
                   ::testing::UnitTest::GetInstance()->current_test_info()->name());
};

TEST_F(AccessTest, NamesWhoeverHasASecret) {
  Write(absl::StrCat("# a comment\n\nalpha ", kAlpha, "\r\n  alpha\t", kAlphasNext, "\nbeta   ",
                     kBeta));
  const auto file = Open();
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->NameOf(kAlpha), "alpha");
  EXPECT_EQ((*file)->NameOf(kAlphasNext), "alpha");
  EXPECT_EQ((*file)->NameOf(kBeta), "beta");
  EXPECT_EQ((*file)->NameOf(""), std::nullopt);
  EXPECT_EQ((*file)->NameOf(absl::StrCat(kBeta, "#")), std::nullopt);
  EXPECT_EQ((*file)->NameOf(std::string(kBeta).substr(1)), std::nullopt);
  EXPECT_EQ((*file)->NameOf("alpha"), std::nullopt);
  EXPECT_TRUE((*file)->Admits("alpha", kAlphasNext));
  EXPECT_FALSE((*file)->Admits("alpha", kBeta));
  EXPECT_FALSE((*file)->Admits("", kBeta));
}

TEST_F(AccessTest, RefusesAFileThatIsNotAsItShouldBeWithoutNamingASecret) {
  const std::vector<std::pair<std::string, std::string>> files = {
      {"", "names nobody"},
      {"# alpha secret-of-enough-letters\n", "names nobody"},
      {"secret-of-enough-letters", "line 1: must be a name, a blank and a secret"},
      {"alpha secret-of-enough-letters more", "line 1: must be"},
      {"\n\nalpha secret-too-few", "line 3: a secret has 16 to 1024 characters, this one 14"},
      {"alpha secret-of-enough-l\xc3\xa4tters", "printable ASCII"},
      {"al\x01pha secret-of-enough-letters", "control character"},
      {std::string(129, 'a') + " secret-of-enough-letters", "at most 128 bytes"},
      {"alpha secret-of-enough-letters\nbeta secret-of-enough-letters", "line 2: another name"},
      {std::string(2 << 20, '#'), "larger than 1 MiB"},
  };
  for (const auto& [content, reason] : files) {
    Write(content);
    const auto file = Open();
    ASSERT_FALSE(file.ok()) << reason;
    EXPECT_THAT(std::string(file.status().message()),
                ::testing::AllOf(HasSubstr(absl::StrCat("--file=", path_)), HasSubstr(reason),
                                 Not(HasSubstr("secret-"))));
  }
  Write(absl::StrCat("alpha ", kAlpha), 0604);
  EXPECT_THAT(std::string(Open().status().message()), HasSubstr("everybody"));
  std::remove(path_.c_str());
  EXPECT_THAT(std::string(Open().status().message()), HasSubstr("No such file"));
  EXPECT_THAT(std::string(AccessFile::Open("--file", "/dev/zero").status().message()),
              HasSubstr("not a regular file"));
}

TEST_F(AccessTest, AChangeCountsOnceItHasStood) {
  Write(absl::StrCat("alpha ", kAlpha));
  const auto opened = Open();
  ASSERT_TRUE(opened.ok());
  AccessFile& file = **opened;
  EXPECT_EQ(file.Reload().value(), false);

  Write(absl::StrCat("alpha ", kAlphasNext));
  EXPECT_TRUE(Reload(file).value());
  EXPECT_EQ(file.NameOf(kAlpha), std::nullopt);
  EXPECT_EQ(file.NameOf(kAlphasNext), "alpha");
  EXPECT_EQ(file.Reload().value(), false);
}

TEST_F(AccessTest, WhatIsBrokenIsToldOnceAndTheLastGoodFileStays) {
  const std::string good = absl::StrCat("alpha ", kAlpha);
  Write(good);
  const auto opened = Open();
  ASSERT_TRUE(opened.ok());
  AccessFile& file = **opened;
  for (const char* broken : {"alpha short", "", "alpha secret-of-enough-letters more"}) {
    Write(broken);
    EXPECT_FALSE(Reload(file).ok());
    EXPECT_EQ(file.Reload().value(), false);
    EXPECT_EQ(file.NameOf(kAlpha), "alpha");
  }
  std::remove(path_.c_str());
  EXPECT_FALSE(Reload(file).ok());
  EXPECT_EQ(file.NameOf(kAlpha), "alpha");
  Write(good);
  EXPECT_TRUE(Reload(file).value());
}

TEST_F(AccessTest, ServesManyThreadsWhileItChanges) {
  Write(absl::StrCat("alpha ", kAlpha));
  const auto opened = Open();
  ASSERT_TRUE(opened.ok());
  AccessFile& file = **opened;
  std::atomic<bool> is_over{false};
  constexpr size_t kCallers = 3;
  std::vector<std::thread> callers;
  callers.reserve(kCallers);
  for (size_t i = 0; i < kCallers; ++i) {
    callers.emplace_back([&] {
      while (!is_over) {
        EXPECT_EQ(file.NameOf(kAlpha), "alpha");
        EXPECT_TRUE(file.Admits("alpha", kAlpha));
      }
    });
  }
  for (int i = 0; i < 100; ++i) {
    Write(absl::StrCat("alpha ", kAlpha, "\n# ", i));
    (void)file.Reload();
    (void)file.Reload();
  }
  is_over = true;
  for (std::thread& caller : callers) caller.join();
}

TEST_F(AccessTest, BearerTokens) {
  Write(absl::StrCat("alpha ", kAlpha, "\nbeta ", kBeta));
  const auto file = Open();
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(TenantOf(**file, absl::StrCat("Bearer ", kAlpha)).value(), "alpha");
  EXPECT_EQ(TenantOf(**file, absl::StrCat("bearer  ", kBeta)).value(), "beta");
  for (const std::string& header :
       {std::string(), std::string("Bearer"), std::string("Bearer "), std::string(kAlpha),
        absl::StrCat("Bearer", kAlpha), absl::StrCat("Basic ", kAlpha),
        absl::StrCat("Bearer ", kAlpha, "x"), absl::StrCat("Bearer ", kAlpha, " ", kBeta)}) {
    const absl::Status status = TenantOf(**file, header).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated) << header;
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr("secret")));
  }
}

TEST_F(AccessTest, BasicCredentials) {
  Write(absl::StrCat("reader ", kAlpha, ":x\nother ", kBeta));
  const auto file = Open();
  ASSERT_TRUE(file.ok());
  const auto basic = [](const std::string& plain) {
    return absl::StrCat("Basic ", absl::Base64Escape(plain));
  };
  EXPECT_TRUE(AdmitsBasic(**file, basic(absl::StrCat("reader:", kAlpha, ":x"))));
  EXPECT_TRUE(AdmitsBasic(**file, basic(absl::StrCat("other:", kBeta))));
  for (const std::string& header :
       {std::string(), std::string("Basic"), std::string("Basic ###"), basic("reader"), basic(":"),
        basic("reader:"), basic(absl::StrCat("reader:", kAlpha)),
        basic(absl::StrCat("reader:", kBeta)), absl::StrCat("Bearer ", kBeta)}) {
    EXPECT_FALSE(AdmitsBasic(**file, header)) << header;
  }
}

}  // namespace
}  // namespace thermograd::service
