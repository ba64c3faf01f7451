#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "common/json.h"

namespace meshplan::tests {

using Variables = std::map<std::string, std::string>;

/// What a program left behind. A signal that killed it counts as 128 + its number.
struct Ended {
  int exit_code = 0;
  std::string out;
  std::string err;
  double seconds = 0;
};

/// A program under way, its output kept in files of its own.
class Running {
 public:
  Running(const std::vector<std::string>& command, const Variables& environment);
  ~Running();
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  pid_t pid() const { return pid_; }
  Ended wait();

 private:
  pid_t pid_ = -1;
  double start_ = 0;
  std::string out_path_;
  std::string err_path_;
};

/// The meshplan that is being built, with these arguments, beside no launcher.
Ended meshplan(const std::vector<std::string>& arguments, const Variables& environment = {});

/// The one JSON object that --json promises; fails the test where stdout holds anything else.
common::Json json_of(const Ended& ended);

/// A shell script that can be run.
void write_script(const std::string& path, const std::string& text);

}  // namespace meshplan::tests
