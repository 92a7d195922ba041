// config.toml: what is read and makes sense can be written and read again. Input: the file.

#include <string>
#include <string_view>

#include "runs/run_config.h"
#include "tests/fuzz/support.h"

namespace curate::fuzz {
namespace {

void test(std::string_view text) {
  static const ScratchFile kFile("config.toml");
  kFile.write(text);
  RunConfig config;
  if (refusal_of([&] { config = read_config(kFile.path()); })) {
    return;
  }
  if (refusal_of([&] { config.options = resolve(config.options); })) {
    return;
  }
  const std::string written = to_toml(config);
  kFile.write(written);
  RunConfig back;
  const auto refusal = refusal_of([&] { back = read_config(kFile.path()); });
  check(!refusal, "written and refused: " + refusal.value_or(""));
  check(to_toml(back) == written, "written and read again: another configuration");
}

}  // namespace
}  // namespace curate::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  curate::fuzz::test({reinterpret_cast<const char*>(data), size});
  return 0;
}
