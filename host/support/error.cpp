#include "curate/error.h"

#include <fmt/format.h>

namespace curate {

InputError::InputError(const std::string& key, const std::string& problem, const std::string& remedy)
    : Error(fmt::format("`{}` {}: {}", key, problem, remedy)), key_(key), problem_(problem), remedy_(remedy) {}

}  // namespace curate
