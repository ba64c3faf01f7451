// Writes the manual pages and the completion scripts of the command line; run by the build.
#include <fmt/format.h>

#include <cstdio>
#include <filesystem>

#include "cli/application.h"
#include "cli/reference/command_reference.h"
#include "common/error.h"
#include "common/file.h"
#include "formats/gzip.h"

namespace meshplan::cli {
namespace {

namespace fs = std::filesystem;

void write_all(const fs::path& folder) {
  const Application application = define_application();
  const CommandReference root = describe(*application.root);
  const auto write_page = [&folder](const CommandReference& command, const std::string& name) {
    common::write_file(folder / "man" / (name + ".1.gz"),
                       formats::gzip(man_page(command, MESHPLAN_VERSION)));
  };
  write_page(root, "meshplan");
  for (const CommandReference& command : root.subcommands)
    write_page(command, "meshplan-" + command.word());
  common::write_file(folder / "completions" / "meshplan.bash", bash_completion(root));
  common::write_file(folder / "completions" / "_meshplan", zsh_completion(root));
  common::write_file(folder / "completions" / "meshplan.fish", fish_completion(root));
}

}  // namespace
}  // namespace meshplan::cli

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: meshplan-reference FOLDER\n", stderr);
    return static_cast<int>(meshplan::common::ErrorCode::kUsage);
  }
  try {
    meshplan::cli::write_all(argv[1]);
  } catch (const std::exception& error) {
    fmt::print(stderr, "meshplan-reference: {}\n", error.what());
    return static_cast<int>(meshplan::common::ErrorCode::kIo);
  }
  return 0;
}
