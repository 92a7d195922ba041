#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "device/device.h"
#include "models/embedding_rows.h"

namespace curate {

/// What a row of a table stands for.
enum class TableRows : std::uint8_t {
  users,
  items,
  values,  ///< a value of a feature
};

/// A table of embeddings, with its gradient. Both belong to the model.
struct TrainableTable {
  std::string name;  ///< "user.embedding"
  TableRows rows = TableRows::users;
  const EmbeddingRows* weights = nullptr;
  const EmbeddingRows* gradient = nullptr;
  RandomPurpose rounding{};  ///< of weights in 16 bits
};

/// A dense layer, with its gradient.
struct TrainableLayer {
  std::string name;  ///< "dense.0"
  DenseParams weights;
  DenseParams gradient;
};

/// All that an optimizer steps on.
struct Trainables {
  std::vector<TrainableTable> tables;
  std::vector<TrainableLayer> layers;
};

}  // namespace curate
