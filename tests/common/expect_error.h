#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <initializer_list>
#include <string>

#include "common/error.h"

namespace meshplan::tests {

/// Runs `action`, which must throw common::Error with this code and with every one of `parts` in
/// its what().
template <class Action, class... Parts>
void expect_error(common::ErrorCode code, const Action& action, const Parts&... parts) {
  try {
    action();
  } catch (const common::Error& error) {
    EXPECT_EQ(to_string(error.code()), std::string(to_string(code))) << error.what();
    for (const std::string& part : std::initializer_list<std::string>{parts...}) {
      EXPECT_THAT(error.what(), testing::HasSubstr(part));
    }
    return;
  }
  ADD_FAILURE() << "nothing was thrown, expected " << to_string(code);
}

}  // namespace meshplan::tests
