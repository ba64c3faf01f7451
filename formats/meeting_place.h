#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace meshplan::formats {

/// Where rank 0 of one start of a job waits for the others, as it tells them by a file that all can
/// read: the way in which the ranks of mpirun meet, whose launcher names no place.
struct MeetingPlace {
  /// Of rank 0's machine, numeric, the most likely first.
  std::vector<std::string> addresses;
  std::uint16_t port = 0;
  /// Drawn anew at each start: who answers there with another one is not this job's rank 0.
  std::string nonce;

  bool operator==(const MeetingPlace&) const = default;
};

/// Replaces the file at once. Throws kIo.
void write_meeting_place(const std::filesystem::path& file, const MeetingPlace& place);
/// Empty where there is no such file, or none that can be read.
std::optional<MeetingPlace> read_meeting_place(const std::filesystem::path& file);

}  // namespace meshplan::formats
