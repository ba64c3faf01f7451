#pragma once

#include <stdexcept>
#include <string>

namespace meshplan::common {

/// What went wrong; the value is the exit code of the program that reports it.
enum class ErrorCode {
  kInternal = 1,
  kUsage = 2,
  kInvalidInput = 3,
  kNoLayoutFits = 4,
  kIo = 5,
  kCorruptCheckpoint = 6,
  kDiverged = 7,
  kRankLost = 8,
  kInterrupted = 130,
};

/// The code's name in JSON and messages: "invalid_input".
const char* to_string(ErrorCode code);

/// Bad input, thrown where it is read and turned into an exit code at the edge of a program.
/// The message says what is wrong, the value, the limit and the remedy; `where` names the file,
/// field or flag.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message, std::string where = "");

  ErrorCode code() const { return code_; }
  const std::string& where() const { return where_; }
  /// The message without `where`; what() is "where: message".
  const std::string& message() const { return message_; }
  int exit_code() const { return static_cast<int>(code_); }

 private:
  ErrorCode code_;
  std::string message_;
  std::string where_;
};

}  // namespace meshplan::common
