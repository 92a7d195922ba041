// Messages of the library name options by their keys; the command line shows flags.

#include "cli/flags.h"

#include <gtest/gtest.h>

namespace curate::cli {
namespace {

TEST(Flags, KeysInBackticksBecomeFlags) {
  EXPECT_EQ(in_flags("`lr` -2: must be above 0"), "--lr -2: must be above 0");
  EXPECT_EQ(in_flags("give `rate_decay` 0.1, or `beta1`"), "give --rate-decay 0.1, or --beta1");
}

TEST(Flags, OtherTextStays) {
  for (const char* text : {"", "a `::` b", "`|`", "` `", "``", "`lr", "lr`", "`Lr`", "`a b`", "`1`", "`-x`", "a_b"}) {
    EXPECT_EQ(in_flags(text), text);
  }
  EXPECT_EQ(in_flags("`, `lr`"), "`, --lr") << "a single one hides nothing";
  EXPECT_EQ(in_flags("``lr``"), "`--lr`");
}

}  // namespace
}  // namespace curate::cli
