#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "device/device.h"
#include "models/parameters.h"
#include "models/trainables.h"

namespace curate {

/// One layer of a network: [batch, inputs] to [batch, outputs]. Layers are written against device.h only and do not
/// know each other; NeuralNetwork runs a stack of them.
class Layer {
 public:
  Layer() = default;
  Layer(const Layer&) = delete;
  Layer& operator=(const Layer&) = delete;
  virtual ~Layer() = default;

  virtual std::int64_t outputs() const = 0;

  /// Left out when predicting.
  virtual bool only_when_training() const { return false; }

  /// Named within the layer: "weight".
  virtual std::vector<NamedParameter> parameters() const { return {}; }
  virtual std::vector<NamedParameter> gradients() const { return {}; }
  /// What an optimizer steps on, without its name; only after prepare_gradients.
  virtual void add_trainables(std::vector<TrainableLayer>& /*all*/) const {}

  /// Allocates what backward needs.
  virtual void prepare_gradients() {}
  /// Frees it.
  virtual void end_gradients() {}

  /// Readies forward and backward for captures, for batches of that size. Called if the layer is not part of a stack
  /// that its device works on as a whole.
  virtual void prepare_products(std::int64_t /*batch*/, ProductPrecision /*precision*/) {}

  /// Enqueues batch.out = layer(batch.in).
  virtual void forward(const DenseBatch& batch, const MatrixView& state) const = 0;
  /// Enqueues the gradients of the parameters and grad.in, from grad.out (which it may overwrite) and from what forward
  /// has read and written.
  virtual void backward(const DenseBatch& grad, const DenseBatch& batch, const MatrixView& state) = 0;
  /// Adds the layer to a stack that its device works on as a whole, and to `gradients` the views that its gradients go
  /// to: absent views before prepare_gradients.
  virtual void add_to(DenseStack& stack, std::vector<DenseParams>& gradients) const = 0;
};

/// out = activation(in weight^T + bias); see ops::DenseForward.
std::unique_ptr<Layer> make_dense_layer(Device& device, std::int64_t inputs, std::int64_t outputs,
                                        const Activation& activation);

/// Drops elements while training; see ops::Dropout.
std::unique_ptr<Layer> make_dropout_layer(Device& device, std::int64_t width, const DropoutParams& params);

}  // namespace curate
