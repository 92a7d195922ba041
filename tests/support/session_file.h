#pragma once

#include <cstdint>
#include <fstream>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "train/training_session.h"

namespace curate::test {

/// Bytes of a file, in the order in which they are put or taken.
class ByteFile {
 public:
  ByteFile(const std::string& path, std::ios::openmode mode) : stream_(path, mode | std::ios::binary) {
    if (!stream_) {
      throw std::runtime_error("cannot open " + path);
    }
    stream_.exceptions(std::ios::failbit | std::ios::badbit);
  }

  template <typename T>
  void put(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    stream_.write(reinterpret_cast<const char*>(&value), sizeof value);
  }
  template <typename T>
  void put(const std::vector<T>& values) {
    put(values.size());
    for (const T& value : values) {
      put(value);
    }
  }
  void put(const TensorMap& tensors) {
    put(tensors.size());
    for (const auto& [name, tensor] : tensors) {
      put(std::vector<char>(name.begin(), name.end()));
      put(tensor.shape);
      put(tensor.values);
    }
  }

  template <typename T>
  void take(T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    stream_.read(reinterpret_cast<char*>(&value), sizeof value);
  }
  template <typename T>
  void take(std::vector<T>& values) {
    std::size_t size = 0;
    take(size);
    values.resize(size);
    for (T& value : values) {
      take(value);
    }
  }
  void take(TensorMap& tensors) {
    std::size_t size = 0;
    take(size);
    for (std::size_t n = 0; n < size; ++n) {
      std::vector<char> name;
      take(name);
      Tensor& tensor = tensors[std::string(name.begin(), name.end())];
      take(tensor.shape);
      take(tensor.values);
    }
  }

 private:
  std::fstream stream_;
};

/// `visit(member)` for all that a state is made of.
template <typename State, typename Visitor>
void visit_state(State& state, Visitor visit) {
  visit(state.parameters);
  visit(state.slots);
  visit(state.step);
  visit(state.history);
  visit(state.best);
  visit(state.best_validation);
  visit(state.best_epoch);
  visit(state.seconds);
}

inline void write_state(const std::string& path, const SessionState& state) {
  ByteFile file(path, std::ios::out);
  visit_state(state, [&file](const auto& member) { file.put(member); });
}

inline SessionState read_state(const std::string& path) {
  SessionState state;
  ByteFile file(path, std::ios::in);
  visit_state(state, [&file](auto& member) { file.take(member); });
  return state;
}

}  // namespace curate::test
