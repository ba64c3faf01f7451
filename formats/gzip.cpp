#include "formats/gzip.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <limits>

#include "common/error.h"

namespace meshplan::formats {
namespace {

/// deflateInit2 writes gzip's header and checksum where this is added to the window's bits.
constexpr int kGzipWindow = 15 + 16;
constexpr int kMemoryLevel = 8;

class Deflater {
 public:
  Deflater() {
    if (deflateInit2(&stream_, Z_DEFAULT_COMPRESSION, Z_DEFLATED, kGzipWindow, kMemoryLevel,
                     Z_DEFAULT_STRATEGY) != Z_OK)
      throw common::Error(common::ErrorCode::kInternal, "zlib cannot start", "gzip");
  }
  ~Deflater() { deflateEnd(&stream_); }
  Deflater(const Deflater&) = delete;
  Deflater& operator=(const Deflater&) = delete;

  void deflate_all(std::string_view bytes, bool last, std::string& out) {
    // zlib reads only; its interface is older than const.
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    stream_.avail_in = static_cast<uInt>(bytes.size());
    std::array<char, 1 << 16> buffer;
    do {
      stream_.next_out = reinterpret_cast<Bytef*>(buffer.data());
      stream_.avail_out = static_cast<uInt>(buffer.size());
      deflate(&stream_, last ? Z_FINISH : Z_NO_FLUSH);
      out.append(buffer.data(), buffer.size() - stream_.avail_out);
    } while (stream_.avail_out == 0);
  }

 private:
  z_stream stream_{};
};

}  // namespace

std::string gzip(std::string_view bytes) {
  constexpr std::size_t kPiece = std::numeric_limits<uInt>::max() / 2;
  Deflater deflater;
  std::string out;
  bool last = false;
  while (!last) {
    const std::string_view piece = bytes.substr(0, kPiece);
    bytes.remove_prefix(piece.size());
    last = bytes.empty();
    deflater.deflate_all(piece, last, out);
  }
  return out;
}

}  // namespace meshplan::formats
