#include "formats/indexed_dataset.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <filesystem>
#include <limits>
#include <string_view>
#include <system_error>
#include <utility>

#include "common/error.h"

namespace meshplan::formats {
namespace {

using common::Error;
using common::ErrorCode;

static_assert(std::endian::native == std::endian::little, "the format is little endian");

constexpr std::string_view kMagic("MMIDIDX\0\0", 9);
constexpr std::uint64_t kVersion = 1;

/// What stands before the lists of PREFIX.idx, field by field without padding.
struct IndexHeader {
  std::array<char, kMagic.size()> magic{};
  std::uint64_t version = kVersion;
  std::uint8_t type_code = 0;
  std::uint64_t sequences = 0;
  std::uint64_t documents = 0;
};
constexpr std::int64_t kHeaderBytes = 9 + 8 + 1 + 8 + 8;

struct IntegerType {
  std::uint8_t code;
  std::int64_t bytes;
  bool is_signed;
};
constexpr std::array kIntegerTypes = {IntegerType{1, 1, false}, IntegerType{2, 1, true},
                                      IntegerType{3, 2, true},  IntegerType{4, 4, true},
                                      IntegerType{5, 8, true},  IntegerType{8, 2, false}};

[[noreturn]] void refuse(const RandomAccessFile& file, const std::string& problem) {
  throw Error(ErrorCode::kInvalidInput,
              problem + "; it is damaged or of another format: copy or make the dataset again",
              file.path().string());
}

RandomAccessFile open_part(const std::string& prefix, const char* suffix) {
  std::error_code ignored;
  if (!std::filesystem::exists(prefix + suffix, ignored)) {
    throw Error(ErrorCode::kInvalidInput,
                "no such file; name a dataset by the path that its .bin and .idx share, without "
                "the ending (scripts/prepare_data makes one from text)",
                prefix + suffix);
  }
  return RandomAccessFile(prefix + suffix);
}

/// Copies the fields in the order of the file, in one direction or the other.
template <class Copy>
void each_field(IndexHeader& header, const Copy& copy) {
  copy(std::span(header.magic));
  copy(std::span(&header.version, 1));
  copy(std::span(&header.type_code, 1));
  copy(std::span(&header.sequences, 1));
  copy(std::span(&header.documents, 1));
}

IndexHeader read_header(const RandomAccessFile& index) {
  if (index.size() < kHeaderBytes) {
    refuse(index,
           fmt::format("has {} bytes, fewer than the {} of a header", index.size(), kHeaderBytes));
  }
  IndexHeader header;
  std::int64_t offset = 0;
  each_field(header, [&](auto field) {
    index.read_at(offset, std::as_writable_bytes(field));
    offset += static_cast<std::int64_t>(field.size_bytes());
  });
  if (std::string_view(header.magic.data(), header.magic.size()) != kMagic) {
    refuse(index, "does not begin as a Megatron indexed dataset does");
  }
  if (header.version != kVersion) {
    refuse(index, fmt::format("has version {}, only {} is known", header.version, kVersion));
  }
  // Bounding each count by the file before they are multiplied keeps the sizes below within 63
  // bits.
  const auto size = static_cast<std::uint64_t>(index.size());
  const bool bounded = header.sequences <= size / 12 && header.documents <= size / 8;
  const std::uint64_t expected =
      bounded ? kHeaderBytes + 12 * header.sequences + 8 * header.documents : 0;
  // Multimodal datasets add a mode of one byte to every sequence.
  if (!bounded || (size != expected && size != expected + header.sequences)) {
    refuse(index, fmt::format("its header counts {} sequences and {} documents, which its {} bytes "
                              "do not hold exactly",
                              header.sequences, header.documents, index.size()));
  }
  return header;
}

IntegerType integer_type(const RandomAccessFile& index, std::uint8_t code) {
  const auto found = std::find_if(kIntegerTypes.begin(), kIntegerTypes.end(),
                                  [code](const IntegerType& type) { return type.code == code; });
  if (found == kIntegerTypes.end()) {
    refuse(index,
           fmt::format("its type code is {}; token ids are integers, codes 1 to 5 and 8", code));
  }
  return *found;
}

void check_places(const RandomAccessFile& index, const RandomAccessFile& tokens,
                  std::int64_t token_bytes, std::span<const std::int32_t> lengths,
                  std::span<const std::int64_t> pointers) {
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    if (lengths[i] < 0) refuse(index, fmt::format("sequence {} has the length {}", i, lengths[i]));
    const std::int64_t bytes = lengths[i] * token_bytes;
    if (pointers[i] < 0 || bytes > tokens.size() || pointers[i] > tokens.size() - bytes) {
      refuse(tokens, fmt::format("has {} bytes, but sequence {} of its index takes {} bytes from "
                                 "byte {} on",
                                 tokens.size(), i, bytes, pointers[i]));
    }
    if (pointers[i] % token_bytes != 0) {
      refuse(index,
             fmt::format("sequence {} begins at byte {}, not a multiple of its {}-byte tokens", i,
                         pointers[i], token_bytes));
    }
  }
}

/// Documents are of no use here, but an index whose documents are wrong is not one to trust.
void check_documents(const RandomAccessFile& index, const IndexHeader& header) {
  std::array<std::int64_t, 4096> chunk{};
  const auto sequences = static_cast<std::int64_t>(header.sequences);
  auto offset = static_cast<std::int64_t>(kHeaderBytes + 12 * header.sequences);
  std::int64_t previous = 0;
  for (std::uint64_t done = 0; done < header.documents;) {
    const auto part =
        std::span(chunk).first(std::min<std::size_t>(chunk.size(), header.documents - done));
    index.read_at(offset, std::as_writable_bytes(part));
    if (done == 0 && part[0] != 0) {
      refuse(index, fmt::format("its first document begins at sequence {} instead of 0", part[0]));
    }
    for (const std::int64_t begin : part) {
      if (begin < previous || begin > sequences) {
        refuse(index, fmt::format("a document begins at sequence {}, outside of {} to {}", begin,
                                  previous, sequences));
      }
      previous = begin;
    }
    done += part.size();
    offset += static_cast<std::int64_t>(part.size_bytes());
  }
}

std::int64_t token_bytes_for(std::int64_t vocab_size, const std::string& prefix) {
  constexpr std::int64_t kLimit = std::int64_t{1} << 31;
  if (vocab_size < 1 || vocab_size > kLimit) {
    throw Error(ErrorCode::kInvalidInput,
                fmt::format("vocabulary size {}: must be from 1 to {}", vocab_size, kLimit),
                prefix);
  }
  return vocab_size < 65500 ? 2 : 4;
}

/// Widens `out.size()` integers of type T, which lie at the end of `out`'s own memory, in place:
/// the place written is never behind the place read.
template <class T>
void widen(std::span<std::int64_t> out) {
  const std::byte* source = std::as_bytes(out).last(out.size() * sizeof(T)).data();
  for (std::int64_t& token : out) {
    T narrow;
    std::memcpy(&narrow, source, sizeof narrow);
    source += sizeof narrow;
    token = static_cast<std::int64_t>(narrow);
  }
}

}  // namespace

IndexedDataset::IndexedDataset(const std::string& prefix)
    : prefix_(prefix), tokens_(open_part(prefix, ".bin")) {
  const RandomAccessFile index = open_part(prefix, ".idx");
  const IndexHeader header = read_header(index);
  const IntegerType type = integer_type(index, header.type_code);
  token_bytes_ = type.bytes;
  signed_ = type.is_signed;
  lengths_.resize(header.sequences);
  pointers_.resize(header.sequences);
  index.read_at(kHeaderBytes, std::as_writable_bytes(std::span(lengths_)));
  index.read_at(kHeaderBytes + 4 * sequence_count(), std::as_writable_bytes(std::span(pointers_)));
  check_places(index, tokens_, token_bytes_, lengths_, pointers_);
  check_documents(index, header);
}

std::size_t IndexedDataset::checked_index(std::int64_t sequence) const {
  if (sequence < 0 || sequence >= sequence_count()) {
    throw Error(ErrorCode::kInternal,
                fmt::format("asked for sequence {} of {}", sequence, sequence_count()), prefix_);
  }
  return static_cast<std::size_t>(sequence);
}

std::int64_t IndexedDataset::length(std::int64_t sequence) const {
  return lengths_[checked_index(sequence)];
}

std::int64_t IndexedDataset::read(std::int64_t sequence, std::span<std::int64_t> out,
                                  std::int64_t first) const {
  const std::size_t index = checked_index(sequence);
  const std::int64_t left = lengths_[index] - std::clamp<std::int64_t>(first, 0, lengths_[index]);
  const auto count = std::min<std::size_t>(out.size(), static_cast<std::size_t>(left));
  out = out.first(count);
  tokens_.read_at(pointers_[index] + (lengths_[index] - left) * token_bytes_,
                  std::as_writable_bytes(out).last(count * static_cast<std::size_t>(token_bytes_)));
  switch (token_bytes_) {
    case 1:
      signed_ ? widen<std::int8_t>(out) : widen<std::uint8_t>(out);
      break;
    case 2:
      signed_ ? widen<std::int16_t>(out) : widen<std::uint16_t>(out);
      break;
    case 4:
      widen<std::int32_t>(out);
      break;
    default:
      break;
  }
  return static_cast<std::int64_t>(count);
}

IndexedDatasetWriter::IndexedDatasetWriter(std::string prefix, std::int64_t vocab_size)
    : prefix_(std::move(prefix)),
      vocab_size_(vocab_size),
      token_bytes_(token_bytes_for(vocab_size, prefix_)),
      tokens_(prefix_ + ".bin") {}

void IndexedDatasetWriter::add(std::span<const std::int64_t> tokens) {
  if (tokens.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
    throw Error(ErrorCode::kInvalidInput,
                fmt::format("a sequence has {} tokens, the format holds 2^31 - 1 at most; cut it",
                            tokens.size()),
                prefix_);
  }
  const auto width = static_cast<std::size_t>(token_bytes_);
  encoded_.resize(tokens.size() * width);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || tokens[i] >= vocab_size_) {
      throw Error(ErrorCode::kInvalidInput,
                  fmt::format("sequence {}, position {}: token id {} is not below the vocabulary "
                              "size {}; name the size of the tokenizer's vocabulary",
                              lengths_.size(), i, tokens[i], vocab_size_),
                  prefix_);
    }
    std::memcpy(encoded_.data() + i * width, &tokens[i], width);
  }
  tokens_.append(encoded_);
  lengths_.push_back(static_cast<std::int32_t>(tokens.size()));
}

void IndexedDatasetWriter::finish() {
  IndexHeader header;
  std::copy(kMagic.begin(), kMagic.end(), header.magic.begin());
  header.type_code = token_bytes_ == 2 ? 8 : 4;
  header.sequences = lengths_.size();
  header.documents = lengths_.size() + 1;
  ReplacementFile index(prefix_ + ".idx");
  each_field(header, [&index](auto field) { index.append(std::as_bytes(field)); });
  index.append(std::as_bytes(std::span(lengths_)));

  std::vector<std::int64_t> numbers(lengths_.size());
  std::int64_t pointer = 0;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    numbers[i] = pointer;
    pointer += lengths_[i] * token_bytes_;
  }
  index.append(std::as_bytes(std::span(numbers)));
  numbers.push_back(0);
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<std::int64_t>(i);
  index.append(std::as_bytes(std::span(numbers)));
  // The tokens first: an index must never be beside tokens that are not its own.
  tokens_.commit();
  index.commit();
}

}  // namespace meshplan::formats
