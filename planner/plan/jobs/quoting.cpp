#include "planner/plan/jobs/quoting.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace meshplan::planner {
namespace {

using common::Json;

constexpr std::string_view kWordCharacters =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-./:=,@%+";
constexpr std::string_view kPlainYaml =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-./";
constexpr std::size_t kLongestName = 40;

bool is_plain(std::string_view text, std::string_view characters) {
  return !text.empty() && text.find_first_not_of(characters) == text.npos;
}

bool is_letter(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; }

/// Whether YAML reads the bare text as that string, by version 1.1 or 1.2.
bool is_bare(std::string_view text) {
  constexpr std::array<std::string_view, 9> kOtherThings = {"y",   "n",    "yes",   "no",  "on",
                                                            "off", "true", "false", "null"};
  if (!is_plain(text, kPlainYaml) || (!is_letter(text.front()) && text.front() != '/'))
    return false;
  std::string small(text);
  std::transform(small.begin(), small.end(), small.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return std::find(kOtherThings.begin(), kOtherThings.end(), small) == kOtherThings.end();
}

void write(const Json& json, std::size_t indent, std::string& out);

void write_block(const std::string& text, std::size_t indent, std::string& out) {
  out += " |\n";
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    out += std::string(indent, ' ') + text.substr(at, end - at) + "\n";
    at = end + 1;
  }
}

/// What stands behind a key or a dash.
void write_value(const Json& json, std::size_t indent, std::string& out) {
  if (json.is_structured() && !json.empty()) {
    out += "\n";
    write(json, indent, out);
  } else if (json.is_string()) {
    const std::string& text = json.get_ref<const std::string&>();
    if (text.find('\n') != text.npos) return write_block(text, indent, out);
    out += ' ';
    out += is_bare(text) ? text : json.dump();
    out += '\n';
  } else {
    out += ' ';
    out += json.dump();
    out += '\n';
  }
}

void write(const Json& json, std::size_t indent, std::string& out) {
  const std::string margin(indent, ' ');
  if (json.is_object()) {
    for (const auto& [key, value] : json.items()) {
      out += margin + (is_bare(key) ? key : Json(key).dump()) + ":";
      write_value(value, indent + 2, out);
    }
    return;
  }
  for (const Json& item : json) {
    if (!item.is_object() || item.empty()) {
      out += margin + "-";
      write_value(item, indent + 2, out);
      continue;
    }
    // The first key of an object stands on the line of its dash.
    std::string object;
    write(item, indent + 2, object);
    out += margin + "- " + object.substr(indent + 2);
  }
}

}  // namespace

std::string shell_word(std::string_view text) {
  if (is_plain(text, kWordCharacters)) return std::string(text);
  std::string word = "'";
  for (const char c : text) {
    if (c == '\'') {
      word += "'\\''";
    } else {
      word += c;
    }
  }
  return word + "'";
}

std::string sbatch_word(std::string_view text) {
  if (is_plain(text, kWordCharacters)) return std::string(text);
  std::string word = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') word += '\\';
    word += c;
  }
  return word + '"';
}

std::string python_text(std::string_view text) { return Json(std::string(text)).dump(); }

std::string kubernetes_word(std::string_view text) {
  std::string word;
  for (const char c : text) {
    if (c == '$') word += '$';
    word += c;
  }
  return word;
}

std::string yaml(const common::Json& json) {
  std::string out;
  write(json, 0, out);
  return out;
}

std::string safe_name(std::string_view name) {
  std::string safe;
  for (const char c : name) {
    const bool kept = is_letter(c) || std::isdigit(static_cast<unsigned char>(c)) != 0;
    if (kept) safe += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    if (!kept && !safe.empty() && safe.back() != '-') safe += '-';
  }
  if (safe.empty() || !is_letter(safe.front())) safe.insert(0, "job-");
  safe.resize(std::min(safe.size(), kLongestName));
  while (safe.back() == '-') safe.pop_back();
  return safe;
}

}  // namespace meshplan::planner
