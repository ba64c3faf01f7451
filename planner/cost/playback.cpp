#include "planner/cost/playback.h"

#include <algorithm>
#include <unordered_map>

#include "common/error.h"

namespace meshplan::planner {
namespace {

/// Repetitions whose waits are worked out; the last two have to be alike.
constexpr std::int64_t kCompiled = 3;

[[noreturn]] void refuse(const char* why) {
  throw common::Error(common::ErrorCode::kInternal, why, "step program");
}

QueueSet bit_of(Queue queue) { return static_cast<QueueSet>(1 << queue); }

Message message_of(Opcode opcode) {
  switch (opcode) {
    case Opcode::kSendActivations:
      return Message::kSent;
    case Opcode::kReceiveActivations:
      return Message::kReceived;
    case Opcode::kGradientNorm:
      return Message::kMetByAll;
    case Opcode::kReduceTiedGradients:
      return Message::kMetByEnds;
    default:
      return Message::kNone;
  }
}

void note_use(QueueUse& use, const PlayedInstruction& instruction) {
  if (instruction.queue != kNoQueue) {
    const QueueSet bit = bit_of(instruction.queue);
    use.several |= use.issued & bit;
    use.issued |= bit;
    // An instruction may wait for its own message.
    if (instruction.queue == queue_of(Stream::kPipeline)) use.awaited |= bit;
  }
  for (EndIndex end : instruction.waits) {
    if (end != kNoEnd) use.awaited |= bit_of(static_cast<Queue>(end / kRememberedEnds));
  }
}

void note_use(QueueUse& use, const QueueUse& part, bool repeated) {
  use.several |= part.several | (use.issued & part.issued);
  if (repeated) use.several |= part.issued;
  use.issued |= part.issued;
  use.awaited |= part.awaited;
}

/// Walks the program in its order and remembers where collectives were issued.
class Compiler {
 public:
  Compiler(const ProgramShape& shape, Playback& playback) : shape_(shape), playback_(playback) {}

  void compile() {
    for (const ShapedPhase& phase : shape_.phases) playback_.phases.push_back(compile(phase));
  }

 private:
  struct Issue {
    std::int64_t position;
    /// Others of the queue were issued since, by repetitions that were left out.
    bool buried = false;
  };

  Repeated compile(const ShapedPhase& phase) {
    Repeated played = compile_repetitions(phase.repetition, playback_.segments, [&] {
      std::vector<Repeated> segments;
      for (const ShapedSegment& segment : phase.segments) segments.push_back(compile(segment));
      return segments;
    });
    played.is_phase = true;
    for (const Repeated& segment : playback_.segments_at(played.others, played))
      note_use(played.use, segment.use, segment.repetition.count > 1);
    return played;
  }

  Repeated compile(const ShapedSegment& segment) {
    Repeated played = compile_repetitions(segment.repetition, playback_.instructions, [&] {
      std::vector<PlayedInstruction> instructions;
      for (const ShapedInstruction& shaped : segment.instructions)
        instructions.push_back(compile(shaped));
      return instructions;
    });
    for (const PlayedInstruction& instruction : playback_.instructions_at(played.others, played))
      note_use(played.use, instruction);
    return played;
  }

  bool equal(const PlayedInstruction& a, const PlayedInstruction& b) const { return a == b; }
  bool equal(const Repeated& a, const Repeated& b) const {
    return equal(playback_.instructions_at(a.first, a), playback_.instructions_at(b.first, b)) &&
           equal(playback_.instructions_at(a.others, a), playback_.instructions_at(b.others, b));
  }
  template <class Part>
  bool equal(std::span<const Part> a, std::span<const Part> b) const {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [this](const Part& x, const Part& y) { return equal(x, y); });
  }

  /// The parts of the first repetition and, where they differ, of the others are added to the list.
  template <class Part>
  Repeated compile_repetitions(const Repetition& repetition, std::vector<Part>& list,
                               const auto& compile_one) {
    const std::int64_t count =
        repetition.varies == kConstant ? repetition.count : std::max(repetition.count, kCompiled);
    const std::int64_t begin = position_;
    std::int64_t from = begin;
    const std::vector<Part> first = compile_one();
    if (count == 1) {
      const std::uint32_t at = append(list, first);
      return {.repetition = repetition,
              .use = {},
              .first = at,
              .others = at,
              .size = static_cast<std::uint32_t>(first.size())};
    }
    std::vector<Part> others = first;
    for (std::int64_t i = 1; i < std::min(count, kCompiled); ++i) {
      from = position_;
      std::vector<Part> next = compile_one();
      if (i > 1 && !equal(std::span<const Part>(next), std::span<const Part>(others)))
        refuse("repetitions wait for different collectives");
      others = std::move(next);
    }
    if (count > kCompiled) leave_out(begin, (count - kCompiled) * (position_ - from));
    Repeated played{
        .repetition = repetition, .use = {}, .size = static_cast<std::uint32_t>(first.size())};
    played.alike = equal(std::span<const Part>(first), std::span<const Part>(others));
    played.first = append(list, first);
    played.others = played.alike ? played.first : append(list, others);
    return played;
  }

  /// Where the list has the parts, which are added if it does not.
  template <class Part>
  std::uint32_t append(std::vector<Part>& list, const std::vector<Part>& parts) {
    std::uint64_t hash = parts.size();
    for (const Part& part : parts) hash = hash * kGolden + bits_of(part);
    const auto [begin, end] = added_.equal_range(hash);
    for (auto added = begin; added != end; ++added) {
      const auto at = list.begin() + added->second;
      const bool has_room = static_cast<std::size_t>(list.end() - at) >= parts.size();
      if (has_room && std::equal(parts.begin(), parts.end(), at)) return added->second;
    }
    const auto at = static_cast<std::uint32_t>(list.size());
    list.insert(list.end(), parts.begin(), parts.end());
    added_.emplace(hash, at);
    return at;
  }

  /// Most that differ differ in these.
  static std::uint64_t bits_of(const PlayedInstruction& played) {
    return std::uint64_t{played.kind} | std::uint64_t{played.waits[0]} << 16 |
           std::uint64_t{played.waits[1]} << 24 | std::uint64_t{played.chunk} << 32;
  }
  static std::uint64_t bits_of(const Repeated& played) {
    return std::uint64_t{played.first} | std::uint64_t{played.size} << 32;
  }

  PlayedInstruction compile(const ShapedInstruction& shaped) {
    const Instruction& instruction = shaped.instruction;
    PlayedInstruction played{
        .kind = static_cast<std::uint16_t>(shaped.kind),
        .queue = shape_.issues[shaped.kind] ? queue_of(instruction.stream) : kNoQueue,
        .message = message_of(instruction.opcode),
        .at_input = instruction.computation == Computation::kEmbedding,
        .chunk = static_cast<std::uint8_t>(instruction.chunk),
        .timeless = instruction.opcode == Opcode::kReleaseParameters};
    std::size_t known = 0;
    for (std::int64_t distance : instruction.waits) {
      const EndIndex end = distance == 0 ? kNoEnd : end_of(position_ - distance);
      if (end != kNoEnd) played.waits[known++] = end;
    }
    if (played.queue != kNoQueue) issues_[played.queue].push_back({position_});
    ++position_;
    return played;
  }

  /// kNoEnd where the instruction at the position issues nothing that goes on.
  EndIndex end_of(std::int64_t position) const {
    for (Queue queue = 0; queue < kQueues; ++queue) {
      const std::vector<Issue>& issues = issues_[queue];
      const auto issue = std::find_if(issues.rbegin(), issues.rend(),
                                      [&](const Issue& i) { return i.position <= position; });
      if (issue == issues.rend() || issue->position != position) continue;
      const auto age = static_cast<std::size_t>(issue - issues.rbegin());
      if (issue->buried || age >= kRememberedEnds)
        refuse("an instruction waits for a collective that is long past");
      return end_index(queue, age);
    }
    return kNoEnd;
  }

  /// Makes the repetitions compiled, which begin there, the last ones, after others of so many
  /// instructions.
  void leave_out(std::int64_t from, std::int64_t moved) {
    for (std::vector<Issue>& issues : issues_) {
      if (issues.empty() || issues.back().position < from) continue;
      for (Issue& issue : issues) {
        if (issue.position >= from) {
          issue.position += moved;
        } else {
          issue.buried = true;
        }
      }
    }
    position_ += moved;
  }

  /// An odd multiple spreads bits (Knuth, The Art of Computer Programming, vol. 3, section 6.4).
  static constexpr std::uint64_t kGolden = 0x9e3779b97f4a7c15u;

  const ProgramShape& shape_;
  Playback& playback_;
  /// Where parts of a hash were added to their list.
  std::unordered_multimap<std::uint64_t, std::uint32_t> added_;
  std::int64_t position_ = 0;
  std::array<std::vector<Issue>, kQueues> issues_;
};

}  // namespace

Queue queue_of(Stream stream) {
  switch (stream) {
    case Stream::kGather:
      return 0;
    case Stream::kReduce:
      return 1;
    case Stream::kReplicate:
      return 2;
    case Stream::kPipeline:
      return 3;
    case Stream::kCompute:
    case Stream::kTp:
    case Stream::kCp:
    case Stream::kEp:
      break;
  }
  return kNoQueue;
}

Playback playback_of(const ProgramShape& shape) {
  Playback playback;
  Compiler(shape, playback).compile();
  return playback;
}

}  // namespace meshplan::planner
