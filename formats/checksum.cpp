#include "formats/checksum.h"

// The whole algorithm from the header, so that the built programs need no library of it.
#define XXH_INLINE_ALL
#include <fmt/format.h>
#include <xxhash.h>

#include <charconv>

namespace meshplan::formats {
namespace {

constexpr std::size_t kDigits = 16;

Checksum from_hash(const XXH128_hash_t& hash) { return {.high = hash.high64, .low = hash.low64}; }

std::optional<std::uint64_t> parse_half(std::string_view text) {
  for (const char c : text) {
    if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return std::nullopt;
  }
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value, 16);
  return value;
}

}  // namespace

Checksum checksum_of(std::span<const std::byte> bytes) {
  return from_hash(XXH3_128bits(bytes.data(), bytes.size()));
}

Checksum checksum_of(std::string_view text) { return checksum_of(std::as_bytes(std::span(text))); }

std::string to_string(const Checksum& checksum) {
  return fmt::format("{:016x}{:016x}", checksum.high, checksum.low);
}

std::optional<Checksum> parse_checksum(std::string_view text) {
  if (text.size() != 2 * kDigits) return std::nullopt;
  const auto high = parse_half(text.substr(0, kDigits));
  const auto low = parse_half(text.substr(kDigits));
  if (!high || !low) return std::nullopt;
  return Checksum{.high = *high, .low = *low};
}

struct ChecksumStream::State {
  XXH3_state_t hash;
};

ChecksumStream::ChecksumStream() : state_(std::make_unique<State>()) {
  XXH3_128bits_reset(&state_->hash);
}

ChecksumStream::~ChecksumStream() = default;

void ChecksumStream::append(std::span<const std::byte> bytes) {
  XXH3_128bits_update(&state_->hash, bytes.data(), bytes.size());
}

Checksum ChecksumStream::finish() {
  const Checksum checksum = from_hash(XXH3_128bits_digest(&state_->hash));
  XXH3_128bits_reset(&state_->hash);
  return checksum;
}

}  // namespace meshplan::formats
