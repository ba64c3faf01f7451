#pragma once

#include <filesystem>
#include <string>

#include "common/json.h"

namespace meshplan::cli {

/// A data set by name, to be tokenized for a model.
struct NamedDataset {
  /// On the Hugging Face hub, or a local file of text, JSON lines or Parquet.
  std::string name;
  /// In (0, 100]: the first part of it.
  double percentage = 100;
  /// A folder or a name on the hub.
  std::string tokenizer;
  /// An end of text behind every document, as packed windows need it.
  bool append_eos = false;
};

/// What a prepared data set was made from, file size and time included: equal keys, equal tokens.
common::Json dataset_key(const NamedDataset& dataset);

/// Tokenizes the data set with scripts/prepare_data into a folder of its own under
/// `storage`/datasets, unless it is there already, and returns the prefix. Processes that ask for
/// the same at once do it once. Throws kIo or kInvalidInput where it cannot be made; what
/// prepare_data said is on stderr then.
std::string prepare_dataset(const NamedDataset& dataset, const std::filesystem::path& storage);

}  // namespace meshplan::cli
