#include "curate/version.h"

namespace curate {

const char* version() {
  return CURATE_VERSION;
}

}  // namespace curate
