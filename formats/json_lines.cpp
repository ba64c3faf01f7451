#include "formats/json_lines.h"

#include <fmt/format.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "common/file.h"

namespace meshplan::formats {

void read_json_lines(const std::filesystem::path& path,
                     const std::function<void(const common::JsonObject&)>& receive) {
  const std::string text = common::read_file(path, common::kGiB);
  std::string_view rest = text;
  for (int line = 1;; ++line) {
    const std::size_t end = rest.find('\n');
    if (end == std::string_view::npos) return;
    const std::string where = fmt::format("{}:{}", path.string(), line);
    const common::Json json = common::parse_json(rest.substr(0, end), where);
    receive(common::JsonObject(json, where));
    rest.remove_prefix(end + 1);
  }
}

}  // namespace meshplan::formats
