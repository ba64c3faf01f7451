#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace meshplan::cli {

/// Help that a user can scan: a flag with its value's name, what it does, and its default in words.
/// A subcommand is listed by the first line of its description; its examples are for its own help.
class HelpFormatter : public CLI::Formatter {
 public:
  std::string make_help(const CLI::App* app, std::string name,
                        CLI::AppFormatMode mode) const override;
  std::string make_description(const CLI::App* app) const override;
  std::string make_subcommand(const CLI::App* subcommand) const override;
  std::string make_option_opts(const CLI::Option* option) const override;
  std::string make_option_desc(const CLI::Option* option) const override;
};

/// "; did you mean --seq-length?" where a known word is close to this one, else nothing.
std::string suggestion(const std::string& word, const std::vector<std::string>& known);

}  // namespace meshplan::cli
