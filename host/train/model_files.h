#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "curate/model.h"

namespace curate {

/// Whether a model may have a file of that name: model.safetensors, users.tsv, items.tsv, features.json.
bool is_model_file(std::string_view name);

/// Writes the files of a model, model.safetensors last, each where `path_of` says for its name. Throws Error.
void write_model_files(const Model::Parts& parts, const std::function<std::string(const std::string& name)>& path_of);

}  // namespace curate
