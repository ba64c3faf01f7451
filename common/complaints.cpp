#include "common/complaints.h"

#include <algorithm>
#include <cstring>

namespace meshplan::common {

void Complaints::keep(const Error& error) {
  const bool known = std::ranges::any_of(errors_, [&error](const Error& other) {
    return std::strcmp(other.what(), error.what()) == 0;
  });
  if (!known) errors_.push_back(error);
}

void Complaints::add(const std::string& where, const std::string& message) {
  keep(Error(ErrorCode::kInvalidInput, message, where));
}

void Complaints::throw_if_any(const std::string& where) const {
  if (errors_.empty()) return;
  for (const Error& error : errors_) {
    if (error.code() != ErrorCode::kInvalidInput) throw Error(error);
  }
  if (errors_.size() == 1) throw Error(errors_.front());
  std::string lines = std::to_string(errors_.size()) + " things are wrong";
  for (const Error& error : errors_) lines += std::string("\n") + error.what();
  throw Error(ErrorCode::kInvalidInput, lines, where);
}

}  // namespace meshplan::common
