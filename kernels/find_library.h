#pragma once

#include <cuda_runtime.h>
#include <fmt/format.h>

#include <optional>
#include <string>

#include "curate/error.h"
#include "kernels/open_library.h"

namespace curate::cuda {

/// A library that is there and does not start.
class LibraryError : public DeviceError {
 public:
  using DeviceError::DeviceError;
};

/// Throws LibraryError: which operation, which call, what the library says, and CUDA's error behind it, if there is
/// one.
[[noreturn]] inline void throw_library_error(const char* operation, const char* call, const std::string& status) {
  const cudaError_t error = cudaGetLastError();  // so that the next call does not report it again
  const std::string cause =
      error == cudaSuccess ? "" : fmt::format(": {}: {}", cudaGetErrorName(error), cudaGetErrorString(error));
  throw LibraryError(fmt::format("{}: {}: {}{}", operation, call, status, cause));
}

/// The function of that name; the first name that the library lacks goes to `missing`.
template <typename Function>
void find_function(void* library, const char* name, Function& function, std::string& missing) {
  function = reinterpret_cast<Function>(find_symbol(library, name));
  if (function == nullptr && missing.empty()) {
    missing = name;
  }
}

/// Looks for a library of the CUDA toolkit, by a `name` like "libcublas.so": first of the toolkit's major version that
/// this was built with, then of older ones, which run wherever this program does; a newer one could need a newer
/// driver. `find_all(library, functions)` gives the first function that is missing, or nothing. If no library will do,
/// `problem` says so in one line.
template <typename Functions, typename FindAll>
std::optional<Functions> find_library(const char* name, FindAll find_all, std::string& problem) {
  constexpr int kMajor = CUDART_VERSION / 1000;
  constexpr int kOldest = 11;
  for (int major = kMajor; major >= kOldest; --major) {
    Functions functions;
    functions.file = fmt::format("{}.{}", name, major);
    void* const library = open_library(functions.file.c_str());
    if (library == nullptr) {
      continue;
    }
    const std::string missing = find_all(library, functions);
    if (missing.empty()) {
      return functions;
    }
    if (problem.empty()) {
      problem = fmt::format("{} has no {}", functions.file, missing);
    }
  }
  if (problem.empty()) {
    problem = fmt::format("no {}.{} found; the CUDA toolkit has it, LD_LIBRARY_PATH may have to name its folder", name,
                          kMajor);
  }
  return std::nullopt;
}

}  // namespace curate::cuda
