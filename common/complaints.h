#pragma once

#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/error.h"

namespace meshplan::common {

/// What is wrong with an input, collected so that all of it is reported at once.
class Complaints {
 public:
  /// What `read` returns. Where it throws common::Error that is kept, and a default value stands in
  /// for what could not be read.
  template <class Read>
  std::decay_t<std::invoke_result_t<Read>> of(Read&& read) {
    using Value = std::decay_t<std::invoke_result_t<Read>>;
    try {
      return std::forward<Read>(read)();
    } catch (const Error& error) {
      keep(error);
      if constexpr (!std::is_void_v<Value>) return Value{};
    }
  }

  void add(const std::string& where, const std::string& message);
  bool empty() const { return errors_.empty(); }

  /// Does nothing where there are none. Throws the only one as it came, or one kInvalidInput of
  /// `where` with a line for each, in order and each once. An error of another code (kIo, ...) goes
  /// first, alone.
  void throw_if_any(const std::string& where) const;

 private:
  void keep(const Error& error);

  std::vector<Error> errors_;
};

}  // namespace meshplan::common
