#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "formats/random_access_file.h"
#include "formats/replacement_file.h"

namespace meshplan::formats {

/// A tokenized text in Megatron's indexed format, version 1: PREFIX.bin holds the token ids one
/// after the other, PREFIX.idx the length and the place of every sequence
/// (https://github.com/NVIDIA/Megatron-LM, megatron/core/datasets/indexed_dataset.py).
/// The index is held in memory, 12 bytes a sequence; tokens are read when they are asked for.
class IndexedDataset {
 public:
  /// Throws kInvalidInput, naming the file and the remedy, where a file is missing, is of another
  /// format, holds something else than integers, or where a sequence does not lie within
  /// PREFIX.bin; kIo where it cannot be read.
  explicit IndexedDataset(const std::string& prefix);

  const std::string& prefix() const { return prefix_; }
  std::int64_t sequence_count() const { return static_cast<std::int64_t>(lengths_.size()); }
  /// Tokens in the sequence, which may be 0.
  std::int64_t length(std::int64_t sequence) const;

  /// Copies the tokens of a sequence from position `first` on, as many as it has and `out` holds,
  /// and returns how many. `first` is from 0 to its length. Throws kInvalidInput where PREFIX.bin
  /// has become shorter. Safe to call from several threads.
  std::int64_t read(std::int64_t sequence, std::span<std::int64_t> out,
                    std::int64_t first = 0) const;

 private:
  std::size_t checked_index(std::int64_t sequence) const;

  std::string prefix_;
  RandomAccessFile tokens_;
  std::int64_t token_bytes_ = 0;
  bool signed_ = false;
  std::vector<std::int32_t> lengths_;
  /// Byte offsets in PREFIX.bin.
  std::vector<std::int64_t> pointers_;
};

/// Writes such a dataset, each sequence as a document of its own: 2 bytes a token when the
/// vocabulary has fewer than 65,500 ids, else 4, as Megatron's own writer chooses.
class IndexedDatasetWriter {
 public:
  /// Throws kInvalidInput unless vocab_size is from 1 to 2^31, and kIo where PREFIX.bin cannot be
  /// made, as the other functions where they cannot write.
  IndexedDatasetWriter(std::string prefix, std::int64_t vocab_size);

  /// Throws kInvalidInput where an id is not in [0, vocab_size).
  void add(std::span<const std::int64_t> tokens);
  /// Puts both files in their place; without it, neither appears.
  void finish();

 private:
  std::string prefix_;
  std::int64_t vocab_size_;
  std::int64_t token_bytes_;
  ReplacementFile tokens_;
  std::vector<std::byte> encoded_;
  std::vector<std::int32_t> lengths_;
};

}  // namespace meshplan::formats
