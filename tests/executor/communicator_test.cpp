#include "executor/comm/communicator.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/common/expect_error.h"

namespace meshplan::executor {
namespace {

using common::ErrorCode;
using planner::Axis;

TEST(CommunicatorOfOne, CopiesTheInputUnlessItIsTheOutput) {
  Communicator group(Axis::kDpShard);
  const std::int64_t before = issued_collectives();
  const at::Tensor input = at::arange(6);
  at::Tensor output = at::zeros({6}, at::kLong);
  group.all_gather(output, input).wait();
  EXPECT_TRUE(at::equal(output, input));
  output.zero_();
  group.reduce_scatter(output, input).wait();
  EXPECT_TRUE(at::equal(output, input));
  group.all_gather(output, output).wait();
  group.all_reduce(output, ReduceOp::kMax).wait();
  EXPECT_TRUE(at::equal(output, input));
  EXPECT_EQ(issued_collectives(), before);
}

TEST(CommunicatorOfOne, RefusesTensorsThatDoNotFit) {
  Communicator group(Axis::kTp);
  const auto refuses = [&](const at::Tensor& output, const at::Tensor& input, const char* why) {
    tests::expect_error(
        ErrorCode::kInternal, [&] { group.all_gather(output, input); }, "tp", why);
    tests::expect_error(
        ErrorCode::kInternal, [&] { group.reduce_scatter(output, input); }, "tp", why);
  };
  refuses(at::zeros({6}), at::zeros({5}), "size");
  refuses(at::zeros({6}), at::zeros({6}, at::kDouble), "type");
  refuses(at::zeros({6}), at::zeros({12}).slice(0, 0, 12, 2), "contiguous");
}

TEST(Pending, WithoutACollectiveIsDone) {
  Pending pending;
  pending.wait();
  Pending other = std::move(pending);
  other = Pending();
  other.wait();
}

}  // namespace
}  // namespace meshplan::executor
