#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace meshplan::formats {

/// XXH3-128 of some bytes (xxHash, Y. Collet): it finds every accident of disk, network and
/// software, and none of malice.
struct Checksum {
  std::uint64_t high = 0;
  std::uint64_t low = 0;

  bool operator==(const Checksum&) const = default;
};

Checksum checksum_of(std::span<const std::byte> bytes);
Checksum checksum_of(std::string_view text);

/// 32 hexadecimal digits, the higher half first, as the program xxh128sum prints it.
std::string to_string(const Checksum& checksum);
/// The inverse; nothing where the text is anything but 32 lower-case digits.
std::optional<Checksum> parse_checksum(std::string_view text);

/// The checksum of bytes that come in pieces.
class ChecksumStream {
 public:
  ChecksumStream();
  ~ChecksumStream();
  ChecksumStream(const ChecksumStream&) = delete;
  ChecksumStream& operator=(const ChecksumStream&) = delete;

  void append(std::span<const std::byte> bytes);
  /// Of all bytes so far; starts anew.
  Checksum finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace meshplan::formats
