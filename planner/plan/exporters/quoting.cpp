#include "planner/plan/exporters/quoting.h"

#include "common/json.h"

namespace meshplan::planner {

std::string plain(std::string_view text) {
  std::string plain(text);
  for (char& c : plain) {
    if (c < ' ' || c > '~') c = '?';
  }
  return plain;
}

std::string literal(std::string_view text) {
  std::string written = "\"";
  for (char c : plain(text)) {
    if (c == '"' || c == '\\') written += '\\';
    written += c;
  }
  return written + '"';
}

std::string decimal(double number) { return common::Json(number).dump(); }

}  // namespace meshplan::planner
