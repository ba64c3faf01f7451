#pragma once

#include <cstdint>

namespace meshplan::executor {

/// The label of a token that is not trained on.
inline constexpr std::int64_t kIgnoredLabel = -100;

/// This rank's part of a vocabulary that is split over tp: ids [start, start + rows). The last
/// ranks' parts of the weights may have more rows; those beyond are padding and stand for no id.
struct VocabularySlice {
  std::int64_t start = 0;
  std::int64_t rows = 0;

  bool holds(std::int64_t id) const { return id >= start && id < start + rows; }
};

}  // namespace meshplan::executor
