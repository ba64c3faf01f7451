#include "formats/tensorboard_events.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstring>
#include <system_error>

#include "common/error.h"

namespace meshplan::formats {
namespace {

using common::Error;
using common::ErrorCode;

/// Remainders of the Castagnoli polynomial, bits reversed, by byte (RFC 3720, appendix B.4).
constexpr std::array<std::uint32_t, 256> make_remainders() {
  std::array<std::uint32_t, 256> remainders{};
  for (std::uint32_t byte = 0; byte < remainders.size(); ++byte) {
    std::uint32_t remainder = byte;
    for (int bit = 0; bit < 8; ++bit)
      remainder = (remainder >> 1) ^ ((remainder & 1) != 0 ? 0x82f63b78u : 0u);
    remainders[byte] = remainder;
  }
  return remainders;
}
constexpr std::array<std::uint32_t, 256> kRemainders = make_remainders();

std::uint32_t crc32c(std::string_view data) {
  std::uint32_t crc = ~0u;
  for (const char c : data)
    crc = kRemainders[(crc ^ static_cast<unsigned char>(c)) & 0xff] ^ (crc >> 8);
  return ~crc;
}

template <class Number>
void append_little_endian(std::string& out, Number number) {
  static_assert(std::endian::native == std::endian::little);
  std::array<char, sizeof(Number)> bytes{};
  std::memcpy(bytes.data(), &number, sizeof(Number));
  out.append(bytes.data(), bytes.size());
}

std::string masked_checksum(std::string_view data) {
  const std::uint32_t crc = crc32c(data);
  std::string out;
  append_little_endian(out, ((crc >> 15) | (crc << 17)) + 0xa282ead8u);
  return out;
}

// Protocol buffers' wire format (https://protobuf.dev/programming-guides/encoding).

enum WireType : std::uint64_t { kVarint = 0, kFixed64 = 1, kLength = 2, kFixed32 = 5 };

void append_varint(std::string& out, std::uint64_t number) {
  for (; number >= 0x80; number >>= 7) out.push_back(static_cast<char>(number | 0x80));
  out.push_back(static_cast<char>(number));
}

void append_tag(std::string& out, std::uint64_t field, WireType type) {
  append_varint(out, field << 3 | type);
}

void append_bytes(std::string& out, std::uint64_t field, std::string_view bytes) {
  append_tag(out, field, kLength);
  append_varint(out, bytes.size());
  out += bytes;
}

std::string event_at(double wall_time) {
  std::string event;
  append_tag(event, 1, kFixed64);
  append_little_endian(event, wall_time);
  return event;
}

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string host_name() {
  std::array<char, HOST_NAME_MAX + 1> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "host";
}

}  // namespace

std::string tfrecord(std::string_view data) {
  std::string length;
  append_little_endian(length, static_cast<std::uint64_t>(data.size()));
  return length + masked_checksum(length) + std::string(data) + masked_checksum(data);
}

std::string scalar_event(double wall_time, std::int64_t step, std::span<const Scalar> scalars) {
  std::string summary;
  for (const Scalar& scalar : scalars) {
    std::string value;
    append_bytes(value, 1, scalar.tag);
    append_tag(value, 2, kFixed32);
    append_little_endian(value, scalar.value);
    append_bytes(summary, 1, value);
  }
  std::string event = event_at(wall_time);
  append_tag(event, 2, kVarint);
  append_varint(event, static_cast<std::uint64_t>(step));
  append_bytes(event, 5, summary);
  return event;
}

TensorboardWriter::TensorboardWriter(const std::filesystem::path& folder) {
  // TensorBoard looks for "tfevents" in names and orders a run's files by them.
  path_ = folder / fmt::format("events.out.tfevents.{:.0f}.{}.{}", now(), host_name(), ::getpid());
  std::error_code failure;
  std::filesystem::create_directories(folder, failure);
  stream_.open(path_, std::ios::binary | std::ios::trunc);
  std::string version = event_at(now());
  append_bytes(version, 3, "brain.Event:2");
  write(version);
}

void TensorboardWriter::add(std::int64_t step, std::span<const Scalar> scalars) {
  write(scalar_event(now(), step, scalars));
}

void TensorboardWriter::write(std::string_view event) {
  stream_ << tfrecord(event) << std::flush;
  if (stream_) return;
  throw Error(ErrorCode::kIo, std::string("cannot write: ") + std::strerror(errno), path_.string());
}

}  // namespace meshplan::formats
