#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "common/error.h"

namespace meshplan::formats {

/// Why a rank stopped, as the process that started the ranks reads it:
/// RUN_FOLDER/errors/rank-00002.json.
struct ErrorRecord {
  std::int64_t rank = 0;
  /// The name of a common::ErrorCode, and what the rank exits with.
  std::string code;
  int exit_code = 1;
  std::string message;

  bool operator==(const ErrorRecord&) const = default;
};

/// Writes the record of one rank. Throws kIo.
void write_error_record(const std::filesystem::path& run_folder, const ErrorRecord& record);

/// The record to tell the user: of a rank that failed by itself before one that only lost another,
/// then by rank. Records that cannot be read are passed over. Empty when there is none.
std::optional<ErrorRecord> first_cause(const std::filesystem::path& run_folder);

/// Removes the records that an earlier attempt left in this folder.
void clear_error_records(const std::filesystem::path& run_folder);

/// The file in which torchrun looks for a rank's message (TORCHELASTIC_ERROR_FILE). Throws kIo.
void write_torchrun_error_file(const std::filesystem::path& file, const std::string& message);
/// The same where torchrun started this process, else nothing: the message of the rank that fails
/// first is then torchrun's root cause. Throws kIo.
void tell_torchrun(const std::string& message);

}  // namespace meshplan::formats
