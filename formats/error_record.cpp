#include "formats/error_record.h"

#include <fmt/format.h>

#include <cstdlib>
#include <ctime>
#include <set>
#include <system_error>
#include <tuple>

#include "common/file.h"
#include "common/json.h"

namespace meshplan::formats {
namespace {

std::filesystem::path folder_of(const std::filesystem::path& run_folder) {
  return run_folder / "errors";
}

/// Messages may quote a file's bytes, which are not always UTF-8.
std::string to_text(const common::Json& json) {
  return json.dump(2, ' ', false, common::Json::error_handler_t::replace) + "\n";
}

ErrorRecord read_record(const std::filesystem::path& file) {
  const common::Json json = common::read_json_file(file);
  const common::JsonObject object(json, file.string());
  return {object.integer("rank"), object.text("code"),
          static_cast<int>(object.integer("exit_code", 1, 255)), object.text("message")};
}

}  // namespace

void write_error_record(const std::filesystem::path& run_folder, const ErrorRecord& record) {
  const common::Json json = {{"rank", record.rank},
                             {"code", record.code},
                             {"exit_code", record.exit_code},
                             {"message", record.message}};
  common::write_file(folder_of(run_folder) / fmt::format("rank-{:05}.json", record.rank),
                     to_text(json));
}

std::optional<ErrorRecord> first_cause(const std::filesystem::path& run_folder) {
  const std::string lost = common::to_string(common::ErrorCode::kRankLost);
  std::optional<ErrorRecord> first;
  std::error_code absent;
  for (const auto& entry : std::filesystem::directory_iterator(folder_of(run_folder), absent)) {
    if (entry.path().extension() != ".json") continue;
    try {
      ErrorRecord record = read_record(entry.path());
      if (!first || std::tuple(record.code == lost, record.rank) <
                        std::tuple(first->code == lost, first->rank)) {
        first = std::move(record);
      }
    } catch (const common::Error&) {
      continue;
    }
  }
  return first;
}

void clear_error_records(const std::filesystem::path& run_folder) {
  std::error_code absent;
  std::filesystem::remove_all(folder_of(run_folder), absent);
}

void write_torchrun_error_file(const std::filesystem::path& file, const std::string& message) {
  // Without a py_callstack, even an empty one: torchrun would print it in place of the message.
  const common::Json json = {
      {"message",
       {{"message", message}, {"extraInfo", {{"timestamp", std::to_string(std::time(nullptr))}}}}}};
  common::write_file(file, to_text(json));
}

void tell_torchrun(const std::string& message) {
  if (const char* file = std::getenv("TORCHELASTIC_ERROR_FILE"))
    write_torchrun_error_file(file, message);
}

}  // namespace meshplan::formats
