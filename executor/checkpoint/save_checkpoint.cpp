#include "executor/checkpoint/save_checkpoint.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <map>
#include <system_error>

#include "common/file.h"
#include "executor/checkpoint/model_files.h"
#include "executor/checkpoint/state_ranges.h"
#include "formats/checkpoint_export.h"
#include "formats/checkpoint_files.h"
#include "formats/checkpoint_folder.h"

namespace meshplan::executor {
namespace {

namespace fs = std::filesystem;
using common::Error;
using common::ErrorCode;
using formats::CheckpointPart;
using formats::CheckpointTensor;

constexpr const char* kFolderTopic = "folder";
constexpr const char* kSeenTopic = "seen";
constexpr const char* kLayoutTopic = "layout";
constexpr const char* kRangesTopic = "ranges";
constexpr const char* kManifestTopic = "manifest";
constexpr const char* kPublishedTopic = "published";
constexpr const char* kDoneTopic = "done";

formats::TensorType stored_type(common::DataType type) {
  switch (type) {
    case common::DataType::kFloat32:
      return formats::TensorType::kF32;
    case common::DataType::kBfloat16:
      return formats::TensorType::kBF16;
    case common::DataType::kFloat16:
      return formats::TensorType::kF16;
    case common::DataType::kFloat8:
      break;
  }
  return formats::TensorType::kF32;
}

const float* values_of(const UnitState& unit, CheckpointPart part) {
  switch (part) {
    case CheckpointPart::kWeights:
    case CheckpointPart::kMaster:
      return unit.master;
    case CheckpointPart::kFirstMoment:
      return unit.first_moment;
    case CheckpointPart::kSecondMoment:
      return unit.second_moment;
  }
  return unit.master;
}

/// One save on one rank.
class Save {
 public:
  Save(const CheckpointSource& source, const SaveOrder& order, SaveExchange& exchange)
      : source_(source),
        order_(order),
        exchange_(exchange),
        weights_(stored_type(source.weights)),
        parts_(formats::parts_of(weights_)),
        files_(formats::plan_whole_files(tensors_of_model(), weights_, parts_)) {}

  void run() {
    if (exchange_.rank() == 0) {
      lead();
    } else {
      follow();
    }
  }

 private:
  std::vector<formats::TensorToWrite> tensors_of_model() const;
  void lead();
  void follow();
  void prepare();
  CheckpointLayout choose_layout();
  std::vector<CheckpointTensor> write_own() const;
  std::vector<CheckpointTensor> write_whole() const;
  std::vector<CheckpointTensor> write_rank_file() const;
  template <class Visit>
  void for_each_range(const Visit& visit) const;
  CheckpointTensor described(CheckpointPart part, const planner::Parameter& parameter) const;
  void collect(std::vector<CheckpointTensor> own);
  void add(const std::vector<CheckpointTensor>& ranges);
  void complete();
  void write_plain_files() const;
  formats::CheckpointManifest manifest() const;
  void publish() const;
  void discard() const;

  const CheckpointSource& source_;
  const SaveOrder& order_;
  SaveExchange& exchange_;
  formats::TensorType weights_;
  std::vector<CheckpointPart> parts_;
  formats::CheckpointFiles files_;
  fs::path unfinished_;
  CheckpointLayout layout_ = CheckpointLayout::kWhole;
  bool shared_ = true;
  /// On rank 0: what all ranks wrote, and the ranks that wrote a file of their own.
  std::map<std::pair<CheckpointPart, std::string>, CheckpointTensor> written_;
  std::map<std::int64_t, std::vector<formats::TensorToWrite>> rank_files_;
};

std::vector<formats::TensorToWrite> Save::tensors_of_model() const {
  std::vector<formats::TensorToWrite> tensors;
  for (std::int64_t unit = 0; unit < planner::unit_count(source_.model); ++unit) {
    for (const planner::Parameter& parameter :
         planner::parameters_of(source_.model, planner::unit_at(source_.model, unit)))
      tensors.push_back({parameter.name, formats::TensorType::kF32, parameter.shape});
  }
  return tensors;
}

/// Runs `work`; whatever it throws becomes common::Error.
template <class Work>
void with_our_errors(const Work& work) {
  try {
    work();
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    throw Error(ErrorCode::kInternal, error.what(), "checkpoint");
  }
}

void Save::lead() {
  std::vector<const char*> untold = {kFolderTopic, kLayoutTopic, kManifestTopic, kDoneTopic};
  const auto tell = [&](const char* topic, const std::string& text) {
    exchange_.tell(topic, text);
    std::erase(untold, topic);
  };
  try {
    with_our_errors([&] {
      if (order_.set_aside_after) formats::remove_unfinished(order_.folder);
      unfinished_ = formats::make_unfinished(order_.folder, order_.metadata.step);
      tell(kFolderTopic, unfinished_.string());
      layout_ = choose_layout();
      prepare();
      tell(kLayoutTopic, name_of(layout_) + (shared_ ? "" : " apart"));
      collect(write_own());
      complete();
    });
  } catch (const Error& error) {
    discard();
    for (const char* topic : untold) exchange_.tell_failure(topic, error);
    throw;
  }
  tell(kDoneTopic, "");
}

void Save::follow() {
  const bool leads_node = exchange_.rank() == source_.node_leader;
  unfinished_ = exchange_.hear(kFolderTopic, 0);
  if (leads_node) exchange_.tell(kSeenTopic, fs::exists(unfinished_) ? "yes" : "no");
  const std::string layout = exchange_.hear(kLayoutTopic, 0);
  shared_ = !layout.ends_with(" apart");
  layout_ = layout_named(layout.substr(0, layout.find(' ')));
  try {
    with_our_errors([&] {
      // One of the node's ranks makes the folder, and the file of any.
      if (!shared_) fs::create_directories(unfinished_);
      exchange_.tell(kRangesTopic, to_text(write_own()));
    });
  } catch (const Error& error) {
    exchange_.tell_failure(kRangesTopic, error);
    throw;
  }
  if (!shared_ && leads_node) {
    const std::string manifest = exchange_.hear(kManifestTopic, 0);
    try {
      with_our_errors([&] {
        write_plain_files();
        common::write_file(unfinished_ / formats::kManifestName, manifest);
        publish();
        exchange_.tell(kPublishedTopic, "");
      });
    } catch (const Error& error) {
      exchange_.tell_failure(kPublishedTopic, error);
      throw;
    }
  }
  exchange_.hear(kDoneTopic, 0);
}

CheckpointLayout Save::choose_layout() {
  for (const std::int64_t leader : source_.node_leaders) {
    if (leader != 0 && exchange_.hear(kSeenTopic, leader) == "no") shared_ = false;
  }
  if (!shared_) return CheckpointLayout::kPerRank;
  if (source_.layout) return *source_.layout;
  return loses_shared_writes(unfinished_) ? CheckpointLayout::kMerged : CheckpointLayout::kWhole;
}

void Save::prepare() {
  if (layout_ != CheckpointLayout::kWhole) return;
  for (const formats::PlannedFile& file : files_.files)
    formats::PositionedFile::create(unfinished_ / file.name, file.prefix, file.bytes).flush();
}

template <class Visit>
void Save::for_each_range(const Visit& visit) const {
  if (!source_.writes) return;
  for (const UnitState& unit : order_.state) {
    for (const StateRange& state : state_ranges(*unit.flat, source_.place)) {
      const planner::Parameter& parameter = state.entry->parameter;
      if (parameter.split == planner::TpSplit::kReplicated && source_.place.tp_rank != 0) continue;
      for (const CheckpointPart part : parts_)
        visit(part, parameter, state.range, values_of(unit, part) + state.slice_begin);
    }
  }
}

CheckpointTensor Save::described(CheckpointPart part, const planner::Parameter& parameter) const {
  const formats::PlannedTensor& planned = files_.find(part, parameter.name);
  return {.part = part,
          .name = planned.name,
          .type = planned.type,
          .shape = planned.shape,
          .file = layout_ == CheckpointLayout::kWhole ? files_.files[planned.file].name : "",
          .ranges = {}};
}

std::vector<CheckpointTensor> Save::write_own() const {
  return layout_ == CheckpointLayout::kWhole ? write_whole() : write_rank_file();
}

std::vector<CheckpointTensor> Save::write_whole() const {
  std::vector<CheckpointTensor> written;
  std::map<std::size_t, formats::PositionedFile> open;
  for_each_range([&](CheckpointPart part, const planner::Parameter& parameter,
                     const formats::TensorRange& range, const float* values) {
    const formats::PlannedTensor& planned = files_.find(part, parameter.name);
    auto file = open.find(planned.file);
    if (file == open.end()) {
      const fs::path path = unfinished_ / files_.files[planned.file].name;
      file = open.emplace(planned.file, formats::PositionedFile(path)).first;
    }
    written.push_back(described(part, parameter));
    written.back().ranges.push_back(formats::store_range(
        exchange_.rank(), range, values, planned.type,
        [&](std::int64_t element, std::span<const std::byte> bytes) {
          formats::write_elements(file->second, planned, range, element, bytes);
        }));
  });
  for (const auto& [index, file] : open) file.flush();
  return written;
}

/// What a rank's own file holds, in its order.
std::vector<formats::TensorToWrite> tensors_of_rank(const std::vector<CheckpointTensor>& ranges) {
  std::vector<formats::TensorToWrite> tensors;
  for (const CheckpointTensor& tensor : ranges) {
    tensors.push_back({formats::rank_tensor(tensor.part, tensor.name),
                       tensor.type,
                       {tensor.ranges.front().range.elements()}});
  }
  return tensors;
}

std::vector<CheckpointTensor> Save::write_rank_file() const {
  std::vector<CheckpointTensor> written;
  for_each_range([&](CheckpointPart part, const planner::Parameter& parameter,
                     const formats::TensorRange& range, const float*) {
    written.push_back(described(part, parameter));
    written.back().ranges.push_back({exchange_.rank(), range, {}});
  });
  if (written.empty()) return written;
  const auto tensors = tensors_of_rank(written);
  const std::string prefix = formats::safetensors_prefix(tensors);
  auto offset = static_cast<std::int64_t>(prefix.size());
  std::int64_t bytes = offset;
  for (const formats::TensorToWrite& tensor : tensors) bytes += byte_size(tensor);
  const auto file = formats::PositionedFile::create(
      unfinished_ / formats::rank_file(exchange_.rank()), prefix, bytes);
  std::size_t index = 0;
  for_each_range([&](CheckpointPart, const planner::Parameter&, const formats::TensorRange& range,
                     const float* values) {
    CheckpointTensor& tensor = written[index];
    tensor.ranges.front() = formats::store_range(
        exchange_.rank(), range, values, tensor.type,
        [&](std::int64_t element, std::span<const std::byte> piece) {
          file.write_at(offset + element * formats::size_of(tensor.type), piece);
        });
    offset += byte_size(tensors[index++]);
  });
  file.flush();
  return written;
}

void Save::add(const std::vector<CheckpointTensor>& ranges) {
  if (ranges.empty()) return;
  if (layout_ != CheckpointLayout::kWhole)
    rank_files_[ranges.front().ranges.front().rank] = tensors_of_rank(ranges);
  for (const CheckpointTensor& tensor : ranges) {
    const auto [place, is_new] = written_.emplace(std::pair(tensor.part, tensor.name), tensor);
    if (!is_new) place->second.ranges.push_back(tensor.ranges.front());
  }
}

void Save::collect(std::vector<CheckpointTensor> own) {
  add(own);
  // All are heard before one's failure is thrown, so that none still writes when it is cleaned up.
  std::optional<Error> failure;
  for (std::int64_t rank = 1; rank < exchange_.world_size(); ++rank) {
    try {
      add(formats::parse_tensors(exchange_.hear(kRangesTopic, rank),
                                 fmt::format("ranges of rank {}", rank)));
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kRankLost) throw;
      if (!failure) failure = error;
    }
  }
  if (failure) throw *failure;
}

formats::CheckpointManifest Save::manifest() const {
  formats::CheckpointManifest manifest{
      .step = order_.metadata.step, .mesh = source_.mesh, .files = {}, .tensors = {}};
  const auto add_file = [&](const std::string& name, std::int64_t bytes, std::string_view begin) {
    manifest.files.push_back({name, common::Bytes(bytes),
                              common::Bytes(static_cast<std::int64_t>(begin.size())),
                              formats::checksum_of(begin)});
  };
  for (const std::string& name : formats::plain_files(unfinished_)) {
    const std::string text = common::read_file(unfinished_ / name, common::kGiB);
    add_file(name, static_cast<std::int64_t>(text.size()), text);
  }
  if (layout_ == CheckpointLayout::kWhole) {
    for (const formats::PlannedFile& file : files_.files)
      add_file(file.name, file.bytes, file.prefix);
  }
  for (const auto& [rank, tensors] : rank_files_) {
    const std::string prefix = formats::safetensors_prefix(tensors);
    auto bytes = static_cast<std::int64_t>(prefix.size());
    for (const formats::TensorToWrite& tensor : tensors) bytes += byte_size(tensor);
    add_file(formats::rank_file(rank), bytes, prefix);
  }
  for (const formats::PlannedTensor& planned : files_.tensors) {
    const auto written = written_.find({planned.part, planned.name});
    if (written == written_.end())
      throw Error(ErrorCode::kInternal, "no rank wrote it", planned.name);
    manifest.tensors.push_back(written->second);
  }
  return manifest;
}

void Save::write_plain_files() const {
  write_model_files(source_.model, source_.model_source, source_.weights, unfinished_);
  common::write_file(unfinished_ / formats::kMetadataName, to_text(order_.metadata));
  if (layout_ != CheckpointLayout::kWhole) return;
  for (const auto& [name, text] : formats::index_files(files_))
    common::write_file(unfinished_ / name, text);
}

void Save::complete() {
  write_plain_files();
  const std::string text = to_text(manifest());
  common::write_file(unfinished_ / formats::kManifestName, text);
  if (layout_ == CheckpointLayout::kMerged) formats::merge_rank_files(unfinished_);
  if (!shared_) {
    exchange_.tell(kManifestTopic, text);
    for (const std::int64_t leader : source_.node_leaders) {
      if (leader != 0) exchange_.hear(kPublishedTopic, leader);
    }
  }
  publish();
}

void Save::publish() const {
  if (order_.set_aside_after) {
    const auto aside = formats::set_aside_after(order_.folder, *order_.set_aside_after);
    for (const fs::path& path : aside)
      spdlog::warn("a checkpoint of a later step, of another run, is set aside: {}", path.string());
  }
  formats::publish(unfinished_, order_.folder / formats::checkpoint_name(order_.metadata.step));
  if (order_.keep_latest == 0) return;
  try {
    formats::purge(order_.folder, order_.keep_latest);
  } catch (const Error& error) {
    spdlog::warn("an old checkpoint stays: {}", error.what());
  }
}

void Save::discard() const {
  std::error_code ignored;
  if (!unfinished_.empty()) fs::remove_all(unfinished_, ignored);
}

}  // namespace

void save_checkpoint(const CheckpointSource& source, const SaveOrder& order,
                     SaveExchange& exchange) {
  exchange.next_round();
  Save(source, order, exchange).run();
}

}  // namespace meshplan::executor
