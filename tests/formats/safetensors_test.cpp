#include "formats/safetensors.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <array>
#include <iterator>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "common/file.h"
#include "tests/common/expect_error.h"
#include "tests/common/temporary_folder.h"
#include "tests/formats/safetensors_bytes.h"

namespace meshplan::formats {
namespace {

using common::Bytes;
using common::ErrorCode;
using tests::safetensors_bytes;

std::string read_text(const SafetensorsFile& file, const std::string& name) {
  const SafetensorsEntry* entry = file.find(name);
  if (entry == nullptr) return "no such tensor";
  std::string text(static_cast<std::size_t>(entry->bytes.value), '\0');
  file.read(*entry, 0, std::as_writable_bytes(std::span(text)));
  return text;
}

void write_texts(const std::filesystem::path& path, const std::vector<TensorToWrite>& tensors,
                 const std::vector<std::string>& data,
                 const std::map<std::string, std::string>& metadata = {}) {
  write_safetensors(
      path, tensors, [&](std::size_t index) { return std::as_bytes(std::span(data[index])); },
      metadata);
}

TEST(Safetensors, ReadsAFileOfTheReferenceWriter) {
  // safetensors 0.8.0, Python: save({"b": float32 [[1, 2], [3, -4]], "a": bfloat16 [1.5], "s":
  // int64 7, "z": float16 of shape [0, 3]}, metadata={"format": "pt"}).
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"s":{"dtype":"I64","shape":[],"data_offsets":[0,8]},)"
      R"("b":{"dtype":"F32","shape":[2,2],"data_offsets":[8,24]},)"
      R"("a":{"dtype":"BF16","shape":[1],"data_offsets":[24,26]},)"
      R"("z":{"dtype":"F16","shape":[0,3],"data_offsets":[26,26]}}   )";
  const std::string data("\x07\0\0\0\0\0\0\0\0\0\x80?\0\0\0@\0\0@@\0\0\x80\xc0\xc0?", 26);
  const tests::TemporaryFolder folder;
  tests::write_quickly(folder / "file", safetensors_bytes(header, data));
  const SafetensorsFile file(folder / "file");

  EXPECT_EQ(file.metadata(), (std::map<std::string, std::string>{{"format", "pt"}}));
  ASSERT_EQ(file.entries().size(), 4u);
  EXPECT_EQ(file.find("b")->type, TensorType::kF32);
  EXPECT_EQ(file.find("b")->shape, (std::vector<std::int64_t>{2, 2}));
  EXPECT_EQ(file.find("a")->type, TensorType::kBF16);
  EXPECT_EQ(file.find("s")->shape, std::vector<std::int64_t>{});
  EXPECT_EQ(file.find("z")->shape, (std::vector<std::int64_t>{0, 3}));
  EXPECT_EQ(file.find("z")->bytes, Bytes(0));
  EXPECT_EQ(file.find("none"), nullptr);

  std::array<float, 4> b{};
  file.read(*file.find("b"), 0, std::as_writable_bytes(std::span(b)));
  EXPECT_EQ(b, (std::array<float, 4>{1, 2, 3, -4}));
  EXPECT_EQ(read_text(file, "a"), "\xc0\x3f");
  EXPECT_EQ(read_text(file, "s"), std::string("\7\0\0\0\0\0\0\0", 8));
  EXPECT_EQ(read_text(file, "z"), "");
}

TEST(Safetensors, ReadsAnyPartOfATensor) {
  const tests::TemporaryFolder folder;
  write_texts(
      folder / "file",
      {{"a", TensorType::kU8, {2}}, {"b", TensorType::kU8, {2, 4}}, {"c", TensorType::kU8, {1}}},
      {"__", "01234567", "_"});
  const SafetensorsFile file(folder / "file");
  std::string part(3, '\0');
  file.read(*file.find("b"), 4, std::as_writable_bytes(std::span(part)));
  EXPECT_EQ(part, "456");
}

TEST(Safetensors, RefusesAReadBeyondTheTensor) {
  const tests::TemporaryFolder folder;
  write_texts(folder / "file", {{"a", TensorType::kU8, {4}}, {"b", TensorType::kU8, {4}}},
              {"0123", "4567"});
  const SafetensorsFile file(folder / "file");
  std::array<std::byte, 3> out{};
  for (std::int64_t offset :
       {std::int64_t{2}, std::int64_t{-1}, std::numeric_limits<std::int64_t>::max()}) {
    tests::expect_error(
        ErrorCode::kInternal, [&] { file.read(*file.find("a"), offset, out); }, "tensor of 4");
  }
}

TEST(Safetensors, AcceptsWhatTheReferenceReaderAccepts) {
  const tests::TemporaryFolder folder;
  const auto accepts = [&folder](const std::string& header, const std::string& data) {
    tests::write_quickly(folder / "file", safetensors_bytes(header, data));
    EXPECT_NO_THROW(SafetensorsFile(folder / "file")) << header;
  };
  accepts("{}", "");
  accepts("  " + tests::kOneTensor + "   ", "data");
  accepts(R"({"t":{"dtype":"U8","shape":[],"data_offsets":[0,1]}})", "a");
  accepts(R"({"t":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}})", "ab");
  accepts(R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":{"y":[1,{"shape":"z"}]}}})",
          "a");
  accepts(R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},)"
          R"("z":{"dtype":"U8","shape":[0],"data_offsets":[1,1]},)"
          R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
          "ab");
}

TEST(Safetensors, AHeaderOfExactlyTheLimitIsRead) {
  const tests::TemporaryFolder folder;
  std::string header = tests::kOneTensor;
  header.resize(100'000'000, ' ');
  tests::write_quickly(folder / "file", safetensors_bytes(header, "data"));
  EXPECT_EQ(read_text(SafetensorsFile(folder / "file"), "t"), "data");
}

TEST(SafetensorsWriter, WritesTheOrderGivenThePaddingAndTheFormat) {
  const tests::TemporaryFolder folder;
  write_texts(folder / "file", {{"b", TensorType::kU8, {3}}, {"a", TensorType::kI16, {1, 1}}},
              {"xyz", "AB"}, {{"step", "7"}});
  const std::string header =
      R"({"__metadata__":{"format":"pt","step":"7"},"b":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},)"
      R"("a":{"dtype":"I16","shape":[1,1],"data_offsets":[3,5]}})";
  const std::string text = common::read_file(folder / "file", common::kGB);
  std::string padded = header;
  while (padded.size() % 8 != 0) padded += ' ';
  EXPECT_EQ(text, safetensors_bytes(padded, "xyzAB"));
}

TEST(SafetensorsWriter, KeepsTheOldFileAndNoTemporaryWhenItFails) {
  const tests::TemporaryFolder folder;
  tests::write_quickly(folder / "file", "old");
  tests::expect_error(
      ErrorCode::kInternal,
      [&] {
        write_texts(folder / "file", {{"a", TensorType::kF32, {2}}}, {"1234567"});
      },
      "a", "7 bytes given, its shape takes 8");
  EXPECT_EQ(common::read_file(folder / "file", common::kGB), "old");
  const std::filesystem::directory_iterator items(folder.path());
  EXPECT_EQ(std::distance(begin(items), end(items)), 1);
}

TEST(SafetensorsWriter, RefusesANameThatComesTwice) {
  const tests::TemporaryFolder folder;
  const TensorToWrite tensor{"a", TensorType::kU8, {1}};
  tests::expect_error(
      ErrorCode::kInternal,
      [&] {
        write_texts(folder / "file", {tensor, tensor}, {"x", "y"});
      },
      "a", "twice");
}

TEST(SafetensorsWriter, SaysWhyItCannotWrite) {
  const tests::TemporaryFolder folder;
  tests::write_quickly(folder / "file", "");
  tests::expect_error(
      ErrorCode::kIo, [&] { write_texts(folder / "file" / "below", {}, {}); }, "below");
}

RC_GTEST_PROP(SafetensorsProperty, WhatIsWrittenIsReadBack, ()) {
  using Metadata = std::map<std::string, std::string>;
  const auto text = rc::gen::container<std::string>(rc::gen::inRange(' ', '\x7f'));
  auto names = *rc::gen::unique<std::vector<std::string>>(text);
  std::erase(names, "__metadata__");
  std::vector<TensorToWrite> tensors;
  std::vector<std::string> data;
  for (const std::string& name : names) {
    const auto type = static_cast<TensorType>(*rc::gen::inRange(0, 15));
    const auto shape =
        *rc::gen::resize(3, rc::gen::container<std::vector<std::int64_t>>(rc::gen::inRange(0, 5)));
    std::int64_t bytes = size_of(type);
    for (std::int64_t size : shape) bytes *= size;
    tensors.push_back({name, type, shape});
    data.push_back(*rc::gen::container<std::string>(static_cast<std::size_t>(bytes),
                                                    rc::gen::arbitrary<char>()));
  }
  auto metadata = *rc::gen::container<Metadata>(text, text);

  const tests::TemporaryFolder folder;
  write_texts(folder / "file", tensors, data, metadata);
  const SafetensorsFile file(folder / "file");
  metadata.emplace("format", "pt");
  RC_ASSERT(file.metadata() == metadata);
  RC_ASSERT(file.entries().size() == tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const SafetensorsEntry* entry = file.find(tensors[i].name);
    RC_ASSERT(entry != nullptr);
    RC_ASSERT(entry->type == tensors[i].type);
    RC_ASSERT(entry->shape == tensors[i].shape);
    RC_ASSERT(read_text(file, tensors[i].name) == data[i]);
  }
}

}  // namespace
}  // namespace meshplan::formats
