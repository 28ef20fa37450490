#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "thermograd/client/tensor_file.h"

namespace thermograd::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string LittleEndian(uint64_t value) {
  std::string bytes;
  for (int byte = 0; byte < 8; ++byte) bytes += static_cast<char>(value >> (8 * byte) & 0xff);
  return bytes;
}

std::string File(absl::string_view header, absl::string_view data) {
  return absl::StrCat(LittleEndian(header.size()), header, data);
}

std::string Entry(absl::string_view name, absl::string_view dtype, absl::string_view shape,
                  absl::string_view offsets) {
  return absl::StrCat("\"", name, "\":{\"dtype\":\"", dtype, "\",\"shape\":", shape,
                      ",\"data_offsets\":", offsets, "}");
}

// Why the file is refused; empty if it is not.
std::string Refusal(absl::string_view file) {
  const absl::StatusOr<Safetensors> contents = ParseSafetensors(file);
  if (contents.ok()) return "";
  EXPECT_EQ(contents.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(contents.status().message());
}

std::string RefusalOfEntry(absl::string_view entry, absl::string_view data) {
  return Refusal(File(absl::StrCat("{", entry, "}"), data));
}

TEST(ParseSafetensors, ReadsTensorsInTheOrderOfTheirData) {
  const std::string file =
      File(absl::StrCat(
               "{", Entry("a", "F32", "[2]", "[6,14]"), ",", Entry("b", "BF16", "[1,3]", "[0,6]"),
               ",", Entry("c", "F16", "[]", "[14,16]"), ",", Entry("d", "F64", "[1]", "[16,24]"),
               ",\"__metadata__\":{\"format\":\"pt\"}}"
               "   "),
           "bbbbbbaaaaaaaaccdddddddd");
  const absl::StatusOr<Safetensors> contents = ParseSafetensors(file);
  ASSERT_TRUE(contents.ok()) << contents.status();
  ASSERT_EQ(contents->tensors.size(), 4u);
  const auto& [b, a, c, d] = std::tie(contents->tensors[0], contents->tensors[1],
                                      contents->tensors[2], contents->tensors[3]);
  EXPECT_EQ(b.name, "b");
  EXPECT_EQ(b.tensor.data_type, v1::DATA_TYPE_BF16);
  EXPECT_THAT(b.tensor.shape, ElementsAre(1, 3));
  EXPECT_EQ(b.tensor.bytes, "bbbbbb");
  EXPECT_EQ(b.tensor.bytes.data(), file.data() + file.size() - 24) << "no copy";
  EXPECT_EQ(a.name, "a");
  EXPECT_EQ(a.tensor.data_type, v1::DATA_TYPE_FP32);
  EXPECT_EQ(a.tensor.bytes, "aaaaaaaa");
  EXPECT_EQ(c.tensor.data_type, v1::DATA_TYPE_FP16);
  EXPECT_THAT(c.tensor.shape, IsEmpty());
  EXPECT_EQ(d.tensor.data_type, v1::DATA_TYPE_FP64);
  EXPECT_THAT(contents->unsupported, IsEmpty());
}

TEST(ParseSafetensors, LeavesOutWhatIsNoFloat) {
  const std::string file = File(absl::StrCat("{", Entry("steps", "I64", "[1]", "[0,8]"), ",",
                                             Entry("w", "F16", "[1]", "[8,10]"), "}"),
                                "iiiiiiiiww");
  const absl::StatusOr<Safetensors> contents = ParseSafetensors(file);
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_THAT(contents->unsupported, ElementsAre("steps"));
  ASSERT_EQ(contents->tensors.size(), 1u);
  EXPECT_EQ(contents->tensors[0].tensor.bytes, "ww");
}

TEST(ParseSafetensors, ReadsFilesWithoutTensorsAndEmptyTensors) {
  EXPECT_THAT(ParseSafetensors(File("{}", ""))->tensors, IsEmpty());
  const std::string file = File(absl::StrCat("{", Entry("y", "F32", "[0,5]", "[4,4]"), ",",
                                             Entry("x", "F32", "[1]", "[0,4]"), "}"),
                                "1234");
  const absl::StatusOr<Safetensors> contents = ParseSafetensors(file);
  ASSERT_TRUE(contents.ok()) << contents.status();
  ASSERT_EQ(contents->tensors.size(), 2u);
  EXPECT_EQ(contents->tensors[1].tensor.bytes, "");
}

TEST(ParseSafetensors, RefusesEveryPrefixOfAFile) {
  const std::string file =
      File(absl::StrCat("{", Entry("w", "F32", "[2]", "[0,8]"), "}"), "12345678");
  ASSERT_EQ(Refusal(file), "");
  for (size_t size = 0; size < file.size(); ++size) {
    EXPECT_NE(Refusal(file.substr(0, size)), "") << size;
  }
}

TEST(ParseSafetensors, RefusesHeaderLengthsBeyondTheFileOrTheLimit) {
  EXPECT_THAT(Refusal(absl::StrCat(LittleEndian(3), "{}")), HasSubstr("within the header"));
  EXPECT_THAT(Refusal(absl::StrCat(LittleEndian(~uint64_t{0}), "{}")),
              HasSubstr("at most 100000000"));
  // The sum of it and the length field would wrap around to 0.
  EXPECT_THAT(Refusal(absl::StrCat(LittleEndian(~uint64_t{7}), "{}")),
              HasSubstr("at most 100000000"));
  EXPECT_THAT(Refusal(absl::StrCat(LittleEndian(100'000'001), "{}")),
              HasSubstr("at most 100000000"));
  EXPECT_THAT(Refusal(absl::StrCat(LittleEndian(100'000'000), "{}")),
              HasSubstr("within the header"));
}

TEST(ParseSafetensors, RefusesHeadersThatAreNoObject) {
  const std::vector<std::string> headers = {"",      " {}",           "[]",       "{",
                                            "{}x",   "{\"w\"}",       "{\"w\":}", "{\"\xff\":{}}",
                                            "{} {}", "{\"w\":[1,2]}", "{\"w\":1}"};
  for (const std::string& header : headers) EXPECT_NE(Refusal(File(header, "")), "") << header;
}

TEST(ParseSafetensors, RefusesDeepNestingWithoutRecursingIntoIt) {
  constexpr size_t kDepth = 1'000'000;
  EXPECT_NE(
      Refusal(File(absl::StrCat("{\"w\":", std::string(kDepth, '['), std::string(kDepth, ']'), "}"),
                   "")),
      "");
  std::string objects = "{";
  for (size_t i = 0; i < kDepth; ++i) objects += "\"w\":{";
  EXPECT_NE(Refusal(File(objects, "")), "");
}

TEST(ParseSafetensors, RefusesANameThatIsThereTwice) {
  EXPECT_NE(RefusalOfEntry(absl::StrCat(Entry("w", "F32", "[1]", "[0,4]"), ",",
                                        Entry("w", "F32", "[1]", "[4,8]")),
                           "12345678"),
            "");
}

TEST(ParseSafetensors, RefusesDataWithGapsOrOverlap) {
  EXPECT_THAT(RefusalOfEntry(Entry("w", "F32", "[1]", "[1,5]"), "12345"),
              HasSubstr("tensor 'w': its data begin at 1 where the data before end at 0"));
  EXPECT_THAT(RefusalOfEntry(Entry("w", "F32", "[1]", "[0,4]"), "12345"),
              HasSubstr("the tensors end at 4 of 5 bytes"));
  EXPECT_THAT(RefusalOfEntry(absl::StrCat(Entry("v", "F32", "[2]", "[0,8]"), ",",
                                          Entry("w", "F32", "[2]", "[4,12]")),
                             "123456789012"),
              HasSubstr("tensor 'w': its data begin at 4 where the data before end at 8"));
  EXPECT_THAT(RefusalOfEntry(absl::StrCat(Entry("v", "F32", "[2]", "[0,8]"), ",",
                                          Entry("w", "F32", "[2]", "[0,8]")),
                             "12345678"),
              HasSubstr("tensor 'w': its data begin at 0"));
  EXPECT_THAT(Refusal(File("{}", "1")), HasSubstr("end at 0 of 1"));
}

TEST(ParseSafetensors, RefusesOffsetsOutsideTheData) {
  for (const char* const offsets :
       {"[0,8]", "[4,0]", "[0,9007199254740992]", "[9007199254740992,4]"}) {
    EXPECT_THAT(RefusalOfEntry(Entry("w", "F32", "[1]", offsets), "1234"),
                HasSubstr("are not within the 4 bytes of data"))
        << offsets;
  }
}

TEST(ParseSafetensors, RefusesOffsetsAndExtentsThatAreNoExactIntegers) {
  for (const char* const offsets :
       {"[0]", "[]", "[0,4,4]", "[0,-4]", "[-4,4]", "[0,4.5]", "[0,\"4\"]", "[0,null]", "[0,[4]]",
        "[0,9007199254740993]", "[0,18446744073709551620]", "[0,1e400]", "4", "\"0,4\"", "null"}) {
    EXPECT_NE(RefusalOfEntry(Entry("w", "F32", "[1]", offsets), "1234"), "") << offsets;
  }
  for (const char* const shape :
       {"[-1]", "[1.5]", "[\"1\"]", "[null]", "[true]", "[[1]]", "1", "{}", "null", "[1e400]"}) {
    EXPECT_NE(RefusalOfEntry(Entry("w", "F32", shape, "[0,4]"), "1234"), "") << shape;
  }
}

TEST(ParseSafetensors, RefusesShapesThatDoNotFitTheData) {
  // The last three would call for 0 or 4 bytes if sizes wrapped around.
  for (const char* const shape : {"[2]", "[0]", "[2,2]", "[4611686018427387904]",
                                  "[4294967296,4294967296]", "[2147483648,2147483648,4]"}) {
    EXPECT_NE(RefusalOfEntry(Entry("w", "F32", shape, "[0,4]"), "1234"), "") << shape;
    if (absl::string_view(shape) == "[0]") continue;
    EXPECT_NE(RefusalOfEntry(Entry("w", "F32", shape, "[0,0]"), ""), "") << shape;
  }
}

TEST(ParseSafetensors, RefusesEntriesThatLackSomething) {
  EXPECT_THAT(RefusalOfEntry(R"("w":{"shape":[],"data_offsets":[0,0]})", ""),
              HasSubstr("a tensor without dtype"));
  EXPECT_THAT(RefusalOfEntry(R"("w":{"dtype":4,"shape":[],"data_offsets":[0,0]})", ""),
              HasSubstr("at byte 14, no string where one belongs"));
  EXPECT_THAT(RefusalOfEntry(R"("w":{"dtype":"F32","data_offsets":[0,0]})", ""),
              HasSubstr("a tensor without shape"));
  EXPECT_THAT(RefusalOfEntry(R"("w":{"dtype":"F32","shape":[0]})", ""),
              HasSubstr("a tensor without two offsets"));
  EXPECT_THAT(RefusalOfEntry(R"("w":{"dtype":"F32","dtype":"F32"})", ""),
              HasSubstr("an unknown or repeated key"));
  EXPECT_THAT(RefusalOfEntry(R"("__metadata__":{"format":1})", ""),
              HasSubstr("no string where one belongs"));
}

TEST(ParseSafetensors, ReadsEveryEscapeOfJson) {
  const std::string file = File(
      absl::StrCat(
          "{",
          Entry(R"(\"\\\/\b\f\n\r\t\u0041\u00e9\u20AC\ud83d\uDE00 \u007f)", "F32", "[0]", "[0,0]"),
          "}"),
      "");
  const absl::StatusOr<Safetensors> contents = ParseSafetensors(file);
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_EQ(contents->tensors[0].name, "\"\\/\b\f\n\r\tA\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80 \x7f");
}

TEST(ParseSafetensors, RefusesStringsThatAreNotJson) {
  for (const char* const name :
       {R"(\)", R"(\x)", R"(\u12)", R"(\u12g4)", R"(\u+123)", R"(\ud83d)", R"(\ud83dx)",
        R"(\ud83d\u0041)", R"(\ud83d\ud83d)", R"(\ude00)", "\n", "\x01"}) {
    EXPECT_NE(RefusalOfEntry(Entry(name, "F32", "[0]", "[0,0]"), ""), "") << name;
  }
}

TEST(ParseSafetensors, RefusesNamesThatAreNotUtf8) {
  const auto refusal = [](absl::string_view name) {
    return RefusalOfEntry(Entry(name, "F32", "[0]", "[0,0]"), "");
  };
  for (const char* const name : {"\xc3\xa9", "\xe2\x82\xac", "\xed\x9f\xbf", "\xee\x80\x80",
                                 "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_EQ(refusal(name), "") << name;
  }
  for (const char* const name :
       {"\x80", "\xc0\x80", "\xc3", "\xc3 ", "\xe0\x80\x80", "\xe2\x82", "\xe2\x82 ",
        "\xed\xa0\x80", "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff"}) {
    EXPECT_THAT(refusal(name), HasSubstr("not UTF-8")) << absl::CHexEscape(name);
  }
}

TEST(ParseSafetensors, EscapesNamesInItsErrors) {
  EXPECT_THAT(RefusalOfEntry(Entry("\\u001b[2J", "F32", "[1]", "[0,0]"), ""),
              HasSubstr("tensor '\\033[2J'"));
}

}  // namespace
}  // namespace thermograd::client
