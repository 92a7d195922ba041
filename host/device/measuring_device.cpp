#include "device/measuring_device.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace curate {
namespace {

constexpr std::uintptr_t kAlignment = 256;

}  // namespace

EngineTraits traits_of(const Device& engine) {
  return {engine.info(), engine.can_store(DType::f16), engine.has_own_memory(), engine.fastest_scatter(),
          engine.has_kernel_options()};
}

MeasuringDevice::Held::Held(Held&& other) noexcept
    : device_(other.device_), place_(other.place_), bytes_(std::exchange(other.bytes_, 0)) {}

MeasuringDevice::Held& MeasuringDevice::Held::operator=(Held&& other) noexcept {
  Held taken(std::move(other));
  std::swap(device_, taken.device_);
  std::swap(place_, taken.place_);
  std::swap(bytes_, taken.bytes_);
  return *this;
}

MeasuringDevice::Held::~Held() {
  if (bytes_ > 0) {
    (place_ == Place::engine ? device_->held_by_engine_ : device_->held_by_host_) -= bytes_;
  }
}

void MeasuringDevice::Held::grow_to(std::size_t bytes) {
  if (bytes > bytes_) {
    (place_ == Place::engine ? device_->held_by_engine_ : device_->held_by_host_) += bytes - bytes_;
    bytes_ = bytes;
    device_->note_totals();
  }
}

MeasuringDevice::MeasuringDevice(EngineTraits traits) : traits_(std::move(traits)), next_address_(kAlignment) {}

void MeasuringDevice::check_not_capturing(const char* operation) const {
  if (capturing_) {
    throw std::logic_error(fmt::format("{} inside a capture", operation));
  }
}

MeasuringDevice::Part& MeasuringDevice::part_of(const char* label) {
  const auto found = std::find_if(parts_.begin(), parts_.end(), [&](const Part& part) { return part.label == label; });
  return found == parts_.end() ? parts_.emplace_back(Part{label, 0}) : *found;
}

void MeasuringDevice::note_totals() {
  const std::size_t of_engine = in_buffers_ + held_by_engine_;
  most_on_engine_ = std::max(most_on_engine_, of_engine);
  most_on_host_ = std::max(most_on_host_, held_by_host_ + (has_own_memory() ? 0 : of_engine));
}

void* MeasuringDevice::do_allocate(std::size_t bytes) {
  check_not_capturing("allocate");
  if (bytes == 0) {
    return nullptr;
  }
  // Never read or written: only its number counts.
  void* const address = reinterpret_cast<void*>(next_address_);
  next_address_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  Part& part = part_of(memory_label());
  blocks_[address] = {bytes, static_cast<std::size_t>(&part - parts_.data())};
  part.bytes += static_cast<std::int64_t>(bytes);
  in_buffers_ += bytes;
  held_by_engine_ += buffer_bytes(bytes) - bytes;
  if (in_buffers_ > most_in_buffers_) {
    most_in_buffers_ = in_buffers_;
    parts_at_peak_ = parts_;
  }
  note_totals();
  return address;
}

void MeasuringDevice::do_free(void* data) noexcept {
  const auto found = blocks_.find(data);
  const std::size_t bytes = found->second.bytes;
  parts_[found->second.part].bytes -= static_cast<std::int64_t>(bytes);
  in_buffers_ -= bytes;
  held_by_engine_ -= buffer_bytes(bytes) - bytes;
  blocks_.erase(found);
}

double MeasuringDevice::do_seconds_of(const std::function<void()>& enqueue) {
  check_not_capturing("seconds_of");
  enqueue();
  return 0.0;
}

void MeasuringDevice::do_upload(const MatrixView& /*destination*/, const void* /*source*/) {
  check_not_capturing("upload");
}

void MeasuringDevice::do_download(void* destination, const MatrixView& source) {
  check_not_capturing("download");
  std::memset(destination, 0, static_cast<std::size_t>(source.rows * source.cols) * size_of(source.dtype));
}

void MeasuringDevice::do_copy(const MatrixView& /*destination*/, const MatrixView& /*source*/) {}

void MeasuringDevice::do_zero(const MatrixView& /*destination*/) {}

std::unique_ptr<Graph> MeasuringDevice::do_capture(const std::function<void()>& enqueue) {
  check_not_capturing("capture");
  capturing_ = true;
  try {
    enqueue();
  } catch (...) {
    capturing_ = false;
    throw;
  }
  capturing_ = false;
  return std::make_unique<Graph>();
}

void MeasuringDevice::do_replay(const Graph& /*graph*/, std::int64_t /*times*/) {
  check_not_capturing("replay");
}

}  // namespace curate
