#include "cli/checkpoint_flags.h"

#include <filesystem>

namespace meshplan::cli {

void add_checkpoint_flags(CLI::App& app, CheckpointFlags& flags) {
  const char* const group = "Checkpoints";
  app.add_option("--checkpoint-interval", flags.interval,
                 "Updates between checkpoints, and one at the end; 0 = at the end of each epoch of "
                 "--num-epochs only")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->type_name("N")
      ->group(group);
  app.add_option("--keep-latest-k", flags.keep_latest_k, "Newest checkpoints to keep; 0 = all")
      ->check([](const std::string& text) {
        return text == "1" ? "1: must be 0 (keep all) or at least 2, so that a damaged newest "
                             "checkpoint leaves one to go back to"
                           : std::string();
      })
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->type_name("K")
      ->group(group);
  app.add_flag("--async-checkpoint", flags.asynchronous,
               "Go on training while a checkpoint is written, from a copy in host memory")
      ->group(group);
  app.add_option("--resume", flags.resume,
                 "auto: the newest checkpoint of this storage path and experiment name, if any; "
                 "never; or the folder of a checkpoint")
      ->capture_default_str()
      ->type_name("auto|never|PATH")
      ->group(group);
  app.add_option("--checkpoint-files", flags.files,
                 "whole: all ranks write the files of the model; per-rank: a file each; merged: a "
                 "file each, then merged by one; auto: merged on NFS and FUSE, else whole")
      ->check(CLI::IsMember({"auto", "whole", "merged", "per-rank"}))
      ->capture_default_str()
      ->type_name("")
      ->group(group);
}

void add_checkpoint_arguments(const CheckpointFlags& flags, std::vector<std::string>& arguments) {
  const auto add = [&](const char* flag, const std::string& value) {
    arguments.insert(arguments.end(), {flag, value});
  };
  if (flags.interval > 0) add("--checkpoint-interval", std::to_string(flags.interval));
  if (flags.keep_latest_k > 0) add("--keep-latest-k", std::to_string(flags.keep_latest_k));
  if (flags.asynchronous) arguments.emplace_back("--async-checkpoint");
  if (flags.resume == "never") add("--resume", flags.resume);
  if (flags.resume != "never" && flags.resume != "auto")
    add("--resume", std::filesystem::absolute(flags.resume).string());
  if (flags.files != "auto") add("--checkpoint-files", flags.files);
}

}  // namespace meshplan::cli
