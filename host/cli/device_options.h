#pragma once

#include <CLI/CLI.hpp>

namespace curate::cli {

/// Adds --debug-device, of every command that computes: see debug_devices().
void add_debug_device(CLI::App& app);

}  // namespace curate::cli
