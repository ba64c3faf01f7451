#include "formats/tensorboard_events.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

#include "common/error.h"
#include "common/file.h"
#include "tests/common/expect_error.h"
#include "tests/common/temporary_folder.h"

namespace meshplan::formats {
namespace {

std::string hex(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) {
    constexpr const char* kDigits = "0123456789abcdef";
    text += kDigits[static_cast<unsigned char>(c) >> 4];
    text += kDigits[static_cast<unsigned char>(c) & 15];
  }
  return text;
}

const std::array<Scalar, 2> kScalars = {Scalar{"train/loss", 2.25f}, Scalar{"lr", 0.001f}};

// Printed by tensorboard 2.21's own Event message and RecordWriter for the same values.

TEST(TensorboardEvents, AreTheBytesThatProtobufWrites) {
  EXPECT_EQ(
      hex(scalar_event(1.5, 300, kScalars)),
      "09000000000000f83f10ac022a1e0a110a0a747261696e2f6c6f737315000010400a090a026c72156f12833a");
}

TEST(TensorboardEvents, AreFramedAsTensorboardFramesThem) {
  EXPECT_EQ(hex(tfrecord(scalar_event(1.5, 300, kScalars))),
            "2c00000000000000f4aecc4509000000000000f83f10ac022a1e0a110a0a747261696e2f6c6f7373150000"
            "10400a090a026c72156f12833a2f071402");
}

TEST(TensorboardEvents, AFileBeginsWithItsVersionAndHoldsEachStepAtOnce) {
  const tests::TemporaryFolder folder;
  TensorboardWriter writer(folder / "tensorboard");
  std::string path;
  for (const auto& file : std::filesystem::directory_iterator(folder / "tensorboard"))
    path = file.path().string();
  EXPECT_NE(path.find("tfevents"), std::string::npos) << path;
  const std::string begin = common::read_file(path, common::kGB);
  EXPECT_NE(begin.find("brain.Event:2"), std::string::npos);
  writer.add(7, kScalars);
  const std::string after = common::read_file(path, common::kGB);
  EXPECT_EQ(after.substr(0, begin.size()), begin);
  EXPECT_NE(after.find("train/loss", begin.size()), std::string::npos);
}

TEST(TensorboardEvents, SaysWhyItCannotWrite) {
  const tests::TemporaryFolder folder;
  tests::write_quickly(folder / "file", "");
  tests::expect_error(
      common::ErrorCode::kIo, [&] { TensorboardWriter writer(folder / "file" / "tensorboard"); },
      "file");
}

}  // namespace
}  // namespace meshplan::formats
