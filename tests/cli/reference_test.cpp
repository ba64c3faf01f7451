#include <gmock/gmock.h>

#include <algorithm>

#include "cli/application.h"
#include "cli/reference/command_reference.h"

namespace meshplan::cli {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

CommandReference whole_reference() {
  const Application application = define_application();
  return describe(*application.root);
}

const CommandReference& command(const CommandReference& root, const std::string& key) {
  for (const CommandReference* command : all_commands(root)) {
    if (command->key() == key) return *command;
  }
  throw std::out_of_range(key);
}

const ArgumentReference& flag(const CommandReference& command, const std::string& name) {
  for (const ArgumentReference& argument : command.arguments) {
    if (std::count(argument.flags.begin(), argument.flags.end(), name) > 0) return argument;
  }
  throw std::out_of_range(name);
}

TEST(CommandReference, HasEverySubcommandInTheOrderOfTheHelp) {
  std::vector<std::string> words;
  const CommandReference root = whole_reference();
  for (const CommandReference& subcommand : root.subcommands) words.push_back(subcommand.word());
  EXPECT_EQ(words, subcommand_names());
  EXPECT_EQ(command(root, "checkpoint list").name(), "meshplan checkpoint list");
}

TEST(CommandReference, AsksAnOptionWhatItTakes) {
  const CommandReference root = whole_reference();
  const CommandReference& estimate = command(root, "estimate");
  EXPECT_THAT(flag(estimate, "--activation-checkpointing").kind.choices,
              ElementsAre("none", "selective", "full"));
  EXPECT_THAT(flag(estimate, "--sequence-parallel").kind.choices, ElementsAre("on", "off"));
  EXPECT_THAT(flag(estimate, "--runtime").kind.choices, Contains("torch_compile"));
  EXPECT_THAT(flag(command(root, "plan"), "--objective").kind.choices,
              ElementsAre("throughput", "memory", "cost", "energy"));
  EXPECT_TRUE(flag(estimate, "--nodes").kind.choices.empty());
}

TEST(CommandReference, KnowsWhatAValueNames) {
  const CommandReference root = whole_reference();
  const CommandReference& plan = command(root, "plan");
  EXPECT_THAT(typed_words(flag(plan, "--model").kind), HasSubstr("llama-3-8b"));
  EXPECT_THAT(typed_words(flag(plan, "--cluster").kind), HasSubstr("h100-sxm"));
  EXPECT_TRUE(flag(plan, "--output").kind.files);
  EXPECT_EQ(typed_words(flag(plan, "--tp").kind), "auto");
  EXPECT_FALSE(flag(plan, "--json").takes_value);
  for (const ArgumentReference& argument : command(root, "catalog").arguments) {
    if (argument.positional()) {
      EXPECT_THAT(argument.kind.choices, Contains("networks"));
    }
  }
  EXPECT_FALSE(flag(plan, "--help").takes_value);
}

TEST(ManPage, SaysWhatTheHelpSays) {
  const CommandReference root = whole_reference();
  const std::string page = man_page(command(root, "what-if"), "1.2.3");
  EXPECT_THAT(page, HasSubstr(".TH \"MESHPLAN\\-WHAT\\-IF\" 1 \"\" \"meshplan 1.2.3\""));
  EXPECT_THAT(page, HasSubstr("\\fB\\-\\-vary\\fR \\fIINPUT=VALUES\\fR"));
  EXPECT_THAT(page, HasSubstr("(required)"));
  EXPECT_THAT(page, HasSubstr("What can be varied: seq\\-length"));
}

TEST(ManPage, KeepsRoffFromTakingTextForCommands) {
  CommandReference command;
  command.path = {"meshplan", "odd"};
  command.summary = "a\\b";
  command.description = {".hidden\n'quoted"};
  const std::string page = man_page(command, "1");
  EXPECT_THAT(page, HasSubstr("a\\eb"));
  EXPECT_THAT(page, HasSubstr("\\&.hidden\n\\&'quoted"));
}

TEST(Completion, HasEveryFlagOfEveryCommand) {
  const CommandReference root = whole_reference();
  const std::string bash = bash_completion(root);
  const std::string zsh = zsh_completion(root);
  const std::string fish = fish_completion(root);
  for (const CommandReference* command : all_commands(root)) {
    for (const ArgumentReference& argument : command->arguments) {
      for (const std::string& name : argument.flags) {
        EXPECT_THAT(bash, HasSubstr(" " + name));
        EXPECT_THAT(zsh, HasSubstr(name + (argument.takes_value ? "" : "[")));
        EXPECT_THAT(fish, HasSubstr(name.starts_with("--") ? " -l " + name.substr(2)
                                                           : " -s " + name.substr(1)));
      }
    }
  }
}

}  // namespace
}  // namespace meshplan::cli
