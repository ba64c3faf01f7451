#include "cli/progress_bar.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <utility>

namespace meshplan::cli {
namespace {

constexpr std::size_t kWidth = 40;
constexpr std::chrono::milliseconds kInterval{100};

}  // namespace

ProgressBar::ProgressBar(std::string what)
    : what_(std::move(what)),
      on_terminal_(::isatty(STDERR_FILENO) == 1),
      next_(Clock::now() + std::chrono::seconds(1)) {}

ProgressBar::~ProgressBar() {
  if (shown_) fmt::print(stderr, "\r{:{}}\r", "", what_.size() + kWidth + 10);
}

void ProgressBar::show(double part) {
  if (!on_terminal_ || Clock::now() < next_) return;
  shown_ = true;
  next_ = Clock::now() + kInterval;
  const auto filled = static_cast<std::size_t>(part * static_cast<double>(kWidth));
  fmt::print(stderr, "\r{} [{:<{}}] {:3.0f} %", what_, std::string(filled, '#'), kWidth,
             100 * part);
  std::fflush(stderr);
}

}  // namespace meshplan::cli
