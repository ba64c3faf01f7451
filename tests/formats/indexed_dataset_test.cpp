#include "formats/indexed_dataset.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "common/file.h"
#include "tests/common/expect_error.h"
#include "tests/common/temporary_folder.h"

namespace meshplan::formats {
namespace {

using common::ErrorCode;

using Tokens = std::vector<std::int64_t>;

template <class T>
std::string raw(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

/// The parts of an .idx, each of which a test may spoil.
struct Index {
  std::string magic{"MMIDIDX\0\0", 9};
  std::uint64_t version = 1;
  std::uint8_t type_code = 4;
  std::uint64_t sequences = 2;
  std::uint64_t documents = 3;
  std::vector<std::int32_t> lengths = {3, 1};
  std::vector<std::int64_t> pointers = {0, 12};
  std::vector<std::int64_t> document_indices = {0, 1, 2};
  std::string tail;

  std::string bytes() const {
    return magic + raw(std::vector{version}) + raw(std::vector{type_code}) +
           raw(std::vector{sequences, documents}) + raw(lengths) + raw(pointers) +
           raw(document_indices) + tail;
  }
};

class IndexedDatasetTest : public testing::Test {
 protected:
  void write(const Index& index, const std::string& tokens) {
    tests::write_quickly(prefix_ + ".idx", index.bytes());
    tests::write_quickly(prefix_ + ".bin", tokens);
  }
  template <class... Parts>
  void refused(const Index& index, const Parts&... parts) {
    write(index, raw(std::vector<std::int32_t>{5, 6, 7, 8}));
    tests::expect_error(
        ErrorCode::kInvalidInput, [this] { IndexedDataset dataset(prefix_); }, prefix_, parts...);
  }
  static Tokens tokens_of(const IndexedDataset& dataset, std::int64_t sequence) {
    Tokens tokens(static_cast<std::size_t>(dataset.length(sequence)));
    EXPECT_EQ(dataset.read(sequence, tokens), dataset.length(sequence));
    return tokens;
  }

  tests::TemporaryFolder folder_;
  std::string prefix_ = folder_ / "data";
};

TEST_F(IndexedDatasetTest, ReadsSequencesInTheirOrder) {
  write({}, raw(std::vector<std::int32_t>{5, 6, 7, 8}));
  const IndexedDataset dataset(prefix_);
  EXPECT_EQ(dataset.prefix(), prefix_);
  ASSERT_EQ(dataset.sequence_count(), 2);
  EXPECT_EQ(tokens_of(dataset, 0), (Tokens{5, 6, 7}));
  EXPECT_EQ(tokens_of(dataset, 1), (Tokens{8}));
}

TEST_F(IndexedDatasetTest, ReadsTheBeginningWhereTheOutputIsShorter) {
  write({}, raw(std::vector<std::int32_t>{5, 6, 7, 8}));
  const IndexedDataset dataset(prefix_);
  Tokens out(2);
  EXPECT_EQ(dataset.read(0, out), 2);
  EXPECT_EQ(out, (Tokens{5, 6}));
}

TEST_F(IndexedDatasetTest, LeavesTheRestOfALongerOutputAlone) {
  write({}, raw(std::vector<std::int32_t>{5, 6, 7, 8}));
  const IndexedDataset dataset(prefix_);
  Tokens out(5, -9);
  EXPECT_EQ(dataset.read(0, out), 3);
  EXPECT_EQ(out, (Tokens{5, 6, 7, -9, -9}));
}

template <class T>
void check_type(const std::string& prefix, std::uint8_t code) {
  const std::vector<T> values = {std::numeric_limits<T>::min(), std::numeric_limits<T>::max(), 1,
                                 2};
  Index index;
  index.type_code = code;
  index.pointers = {0, 3 * sizeof(T)};
  tests::write_quickly(prefix + ".idx", index.bytes());
  tests::write_quickly(prefix + ".bin", raw(values));
  const IndexedDataset dataset(prefix);
  Tokens out(3);
  dataset.read(0, out);
  EXPECT_EQ(out,
            (Tokens{static_cast<std::int64_t>(values[0]), static_cast<std::int64_t>(values[1]), 1}))
      << "type code " << int{code};
}

TEST_F(IndexedDatasetTest, ReadsEveryIntegerType) {
  check_type<std::uint8_t>(prefix_, 1);
  check_type<std::int8_t>(prefix_, 2);
  check_type<std::int16_t>(prefix_, 3);
  check_type<std::int32_t>(prefix_, 4);
  check_type<std::int64_t>(prefix_, 5);
  check_type<std::uint16_t>(prefix_, 8);
}

TEST_F(IndexedDatasetTest, AcceptsModesAndDocumentsOfSeveralSequences) {
  Index index;
  index.tail = std::string(2, '\0');
  index.documents = 2;
  index.document_indices = {0, 2};
  write(index, raw(std::vector<std::int32_t>{5, 6, 7, 8}));
  EXPECT_EQ(IndexedDataset(prefix_).sequence_count(), 2);
}

TEST_F(IndexedDatasetTest, AcceptsNoSequences) {
  Index index;
  index.sequences = 0;
  index.documents = 1;
  index.lengths = {};
  index.pointers = {};
  index.document_indices = {0};
  write(index, "");
  EXPECT_EQ(IndexedDataset(prefix_).sequence_count(), 0);
}

TEST_F(IndexedDatasetTest, RefusesMissingFilesAndSaysWhatToName) {
  tests::expect_error(
      ErrorCode::kInvalidInput, [this] { IndexedDataset dataset(prefix_); }, "data.bin",
      "no such file", "without the ending");
  tests::write_quickly(prefix_ + ".bin", "");
  tests::expect_error(
      ErrorCode::kInvalidInput, [this] { IndexedDataset dataset(prefix_); }, "data.idx");
}

TEST_F(IndexedDatasetTest, RefusesAShortHeader) {
  tests::write_quickly(prefix_ + ".bin", "");
  tests::write_quickly(prefix_ + ".idx", std::string(33, 'x'));
  tests::expect_error(
      ErrorCode::kInvalidInput, [this] { IndexedDataset dataset(prefix_); }, "33 bytes");
}

TEST_F(IndexedDatasetTest, RefusesAnotherMagic) {
  Index index;
  index.magic = std::string("MMIDIDX\0\1", 9);
  refused(index, "data.idx", "does not begin");
}

TEST_F(IndexedDatasetTest, RefusesAnotherVersion) {
  Index index;
  index.version = 2;
  refused(index, "version 2");
}

TEST_F(IndexedDatasetTest, RefusesTokensThatAreNotIntegers) {
  for (const int code : {0, 6, 7, 9, 255}) {
    Index index;
    index.type_code = static_cast<std::uint8_t>(code);
    refused(index, "type code is " + std::to_string(code));
  }
}

TEST_F(IndexedDatasetTest, RefusesCountsThatTheFileDoesNotHold) {
  for (const std::uint64_t count :
       {std::uint64_t{1}, std::uint64_t{3}, std::uint64_t{1} << 62, ~std::uint64_t{0}}) {
    Index index;
    index.sequences = count;
    refused(index, std::to_string(count) + " sequences");
    index = {};
    index.documents = count + 1;
    if (count + 1 != 0) refused(index, std::to_string(count + 1) + " documents");
  }
}

TEST_F(IndexedDatasetTest, RefusesATruncatedIndex) {
  Index index;
  index.document_indices.pop_back();
  refused(index, "data.idx", "do not hold exactly");
}

TEST_F(IndexedDatasetTest, RefusesANegativeLength) {
  Index index;
  index.lengths[1] = -1;
  refused(index, "sequence 1", "length -1");
}

TEST_F(IndexedDatasetTest, RefusesASequenceOutsideOfTheTokens) {
  for (const std::int64_t pointer :
       {std::int64_t{16}, std::int64_t{-4}, std::numeric_limits<std::int64_t>::max() - 3,
        std::numeric_limits<std::int64_t>::min()}) {
    Index index;
    index.pointers[1] = pointer;
    refused(index, "data.bin", "has 16 bytes", "sequence 1", std::to_string(pointer));
  }
  Index index;
  index.lengths[0] = std::numeric_limits<std::int32_t>::max();
  refused(index, "data.bin", "takes 8589934588 bytes");
}

TEST_F(IndexedDatasetTest, RefusesASequenceBetweenTokens) {
  Index index;
  index.pointers[1] = 10;
  refused(index, "sequence 1 begins at byte 10", "4-byte");
}

TEST_F(IndexedDatasetTest, RefusesWrongDocuments) {
  Index index;
  index.document_indices = {1, 1, 2};
  refused(index, "first document");
  index.document_indices = {0, 2, 1};
  refused(index, "begins at sequence 1");
  index.document_indices = {0, 1, 3};
  refused(index, "begins at sequence 3");
}

TEST_F(IndexedDatasetTest, ATokenFileThatShrinksAfterOpeningIsAnErrorAtTheRead) {
  write({}, raw(std::vector<std::int32_t>{5, 6, 7, 8}));
  const IndexedDataset dataset(prefix_);
  std::filesystem::resize_file(prefix_ + ".bin", 8);
  Tokens out(3);
  tests::expect_error(
      ErrorCode::kInvalidInput, [&] { dataset.read(0, out); }, "data.bin", "4 bytes early");
}

TEST_F(IndexedDatasetTest, RefusesASequenceNumberThatItDoesNotHave) {
  write({}, raw(std::vector<std::int32_t>{5, 6, 7, 8}));
  const IndexedDataset dataset(prefix_);
  for (const std::int64_t sequence : {-1, 2}) {
    tests::expect_error(
        ErrorCode::kInternal, [&] { dataset.length(sequence); },
        "sequence " + std::to_string(sequence) + " of 2");
  }
}

TEST_F(IndexedDatasetTest, TheWriterMakesTheBytesOfTheFormat) {
  // The .idx has one document for each sequence, and a last index behind the last document.
  IndexedDatasetWriter writer(prefix_, 65500);
  writer.add(Tokens{5, 6, 7});
  writer.add(Tokens{65499});
  writer.finish();
  EXPECT_EQ(common::read_file(prefix_ + ".idx", common::kGB), Index{}.bytes());
  EXPECT_EQ(common::read_file(prefix_ + ".bin", common::kGB),
            raw(std::vector<std::int32_t>{5, 6, 7, 65499}));
}

TEST_F(IndexedDatasetTest, TheWriterTakesTwoBytesATokenForSmallVocabularies) {
  IndexedDatasetWriter writer(prefix_, 65499);
  writer.add(Tokens{5, 65498});
  writer.finish();
  EXPECT_EQ(common::read_file(prefix_ + ".bin", common::kGB),
            raw(std::vector<std::uint16_t>{5, 65498}));
  EXPECT_EQ(tokens_of(IndexedDataset(prefix_), 0), (Tokens{5, 65498}));
}

TEST_F(IndexedDatasetTest, TheWriterRefusesIdsBeyondTheVocabulary) {
  IndexedDatasetWriter writer(prefix_, 100);
  writer.add(Tokens{99});
  for (const std::int64_t id : {100, -1}) {
    tests::expect_error(
        ErrorCode::kInvalidInput,
        [&] {
          writer.add(Tokens{0, id});
        },
        "sequence 1", "position 1", std::to_string(id), "100");
  }
}

TEST_F(IndexedDatasetTest, TheWriterRefusesAVocabularyThatItCannotWrite) {
  for (const std::int64_t size : {std::int64_t{0}, std::int64_t{1} << 32}) {
    tests::expect_error(
        ErrorCode::kInvalidInput, [&] { IndexedDatasetWriter writer(prefix_, size); },
        std::to_string(size));
  }
}

TEST_F(IndexedDatasetTest, AWriterThatIsNotFinishedLeavesNothing) {
  {
    IndexedDatasetWriter writer(prefix_, 100);
    writer.add(Tokens{1, 2});
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
}

RC_GTEST_PROP(IndexedDatasetProperty, WhatIsWrittenIsReadBack, ()) {
  const std::int64_t vocab = *rc::gen::element<std::int64_t>(2, 65499, 65500, 200'000);
  const auto sequences = *rc::gen::container<std::vector<Tokens>>(
      rc::gen::container<Tokens>(rc::gen::inRange<std::int64_t>(0, vocab)));
  const tests::TemporaryFolder folder;
  IndexedDatasetWriter writer(folder / "data", vocab);
  for (const Tokens& sequence : sequences) writer.add(sequence);
  writer.finish();
  const IndexedDataset dataset(folder / "data");
  RC_ASSERT(dataset.sequence_count() == static_cast<std::int64_t>(sequences.size()));
  for (std::int64_t i = 0; i < dataset.sequence_count(); ++i) {
    Tokens tokens(static_cast<std::size_t>(dataset.length(i)));
    dataset.read(i, tokens);
    RC_ASSERT(tokens == sequences[static_cast<std::size_t>(i)]);
  }
}

RC_GTEST_PROP(IndexedDatasetProperty, AnyChangedByteIsAcceptedOrRefusedAndNothingElse, ()) {
  const tests::TemporaryFolder folder;
  const std::string prefix = folder / "data";
  std::string bytes = Index{}.bytes();
  const int changes = *rc::gen::inRange(1, 4);
  for (int i = 0; i < changes; ++i) {
    bytes[*rc::gen::inRange<std::size_t>(0, bytes.size())] = *rc::gen::arbitrary<char>();
  }
  tests::write_quickly(prefix + ".idx", bytes);
  tests::write_quickly(prefix + ".bin", std::string(16, 'x'));
  try {
    const IndexedDataset dataset(prefix);
    for (std::int64_t i = 0; i < dataset.sequence_count(); ++i) {
      Tokens tokens(static_cast<std::size_t>(dataset.length(i)));
      RC_ASSERT(dataset.read(i, tokens) == dataset.length(i));
    }
  } catch (const common::Error& error) {
    RC_ASSERT(error.code() == ErrorCode::kInvalidInput);
  }
}

}  // namespace
}  // namespace meshplan::formats
