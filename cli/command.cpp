#include "cli/command.h"

#include <fmt/format.h>

namespace meshplan::cli {

void print_json(const common::Json& json) {
  // Names may come from paths, which need not be UTF-8.
  fmt::print("{}\n", json.dump(2, ' ', false, common::Json::error_handler_t::replace));
}

std::string percent(double fraction) { return fmt::format("{:.1f} %", 100 * fraction); }

}  // namespace meshplan::cli
