#include "service/label_text.h"

#include "gtest/gtest.h"

namespace thermograd::service {
namespace {

bool Admits(absl::string_view text) { return CheckLabelText("field", text).ok(); }

TEST(LabelText, AdmitsUtf8WithoutControlCharacters) {
  EXPECT_TRUE(Admits("fc1.weight \"x\\"));
  EXPECT_TRUE(Admits("\xc3\xa9\xe2\x82\xac\xf0\x9f\x94\xa5"));
  // Text that is written from right to left needs no controls.
  EXPECT_TRUE(Admits("\xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d"));
}

TEST(LabelText, RefusesTheRest) {
  EXPECT_FALSE(Admits(""));
  EXPECT_FALSE(Admits("a\nb"));
  EXPECT_FALSE(Admits(absl::string_view("a\0b", 3)));
  EXPECT_FALSE(Admits("\x7f"));
  EXPECT_FALSE(Admits("\xc2\x85"));          // C1 control
  EXPECT_FALSE(Admits("\xe2\x80\xa8"));      // U+2028, line separator
  EXPECT_FALSE(Admits("\xd8\x9c"));          // U+061C, Arabic letter mark
  EXPECT_FALSE(Admits("\xe2\x80\x8f"));      // U+200F, right-to-left mark
  EXPECT_FALSE(Admits("a\xe2\x80\xaeg"));    // U+202E, right-to-left override
  EXPECT_FALSE(Admits("a\xe2\x81\xa9g"));    // U+2069, pop directional isolate
  EXPECT_FALSE(Admits("\xff"));              // never valid
  EXPECT_FALSE(Admits("\xc0\xaf"));          // overlong
  EXPECT_FALSE(Admits("\xe0\x80\x80"));      // overlong
  EXPECT_FALSE(Admits("\xed\xa0\x80"));      // surrogate
  EXPECT_FALSE(Admits("\xf4\x90\x80\x80"));  // beyond U+10FFFF
  EXPECT_FALSE(Admits("\xe2\x82"));          // cut short
}

}  // namespace
}  // namespace thermograd::service
