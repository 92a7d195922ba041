#include "kernels/open_library.h"

#include <dlfcn.h>

namespace curate::cuda {

void* open_library(const char* name) {
  // Never unloaded: CUDA's libraries leave things behind in the driver.
  return ::dlopen(name, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
}

void* find_symbol(void* library, const char* name) {
  return ::dlsym(library, name);
}

}  // namespace curate::cuda
