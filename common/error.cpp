#include "common/error.h"

#include <utility>

namespace meshplan::common {

const char* to_string(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInternal:
      return "internal";
    case ErrorCode::kUsage:
      return "usage";
    case ErrorCode::kInvalidInput:
      return "invalid_input";
    case ErrorCode::kNoLayoutFits:
      return "no_layout_fits";
    case ErrorCode::kIo:
      return "io";
    case ErrorCode::kCorruptCheckpoint:
      return "corrupt_checkpoint";
    case ErrorCode::kDiverged:
      return "diverged";
    case ErrorCode::kRankLost:
      return "rank_lost";
    case ErrorCode::kInterrupted:
      return "interrupted";
  }
  return "internal";
}

Error::Error(ErrorCode code, const std::string& message, std::string where)
    : std::runtime_error(where.empty() ? message : where + ": " + message),
      code_(code),
      message_(message),
      where_(std::move(where)) {}

}  // namespace meshplan::common
