#pragma once

#include "curate/export.h"

namespace curate {

/// "major.minor.patch" of the library in use. It may be newer than the one compiled against.
CURATE_API const char* version();

}  // namespace curate
