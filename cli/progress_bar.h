#pragma once

#include <chrono>
#include <string>

namespace meshplan::cli {

/// A bar on stderr that comes up once something takes more than a second, on a terminal alone, and
/// goes away with the object.
class ProgressBar {
 public:
  explicit ProgressBar(std::string what);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  /// `part` of the whole is done, from 0 to 1.
  void show(double part);

 private:
  using Clock = std::chrono::steady_clock;

  std::string what_;
  bool on_terminal_;
  bool shown_ = false;
  Clock::time_point next_;
};

}  // namespace meshplan::cli
