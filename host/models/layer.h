#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "device/device.h"
#include "models/rating_model.h"

namespace curate {

/// One layer of a network: [batch, inputs] to [batch, outputs]. Layers are written against device.h only and know
/// nothing of each other; a stack of them is run by NeuralNetwork.
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
  /// What the optimizer keeps from step to step.
  virtual std::vector<NamedParameter> slots() const { return {}; }

  /// Allocates what training needs.
  virtual void prepare_training(const TrainingPlan& /*plan*/) {}
  /// Frees it.
  virtual void end_training() {}

  /// Readies forward and backward for captures; after prepare_training, where the layer is not part of a stack that its
  /// device works on as a whole.
  virtual void prepare_products(const TrainingPlan& /*plan*/) {}

  /// Enqueues batch.out = layer(batch.in).
  virtual void forward(const DenseBatch& batch, const MatrixView& state) const = 0;
  /// Enqueues the gradients of the parameters and grad.in, from grad.out (which may be overwritten) and what forward
  /// has seen and made.
  virtual void backward(const DenseBatch& grad, const DenseBatch& batch, const MatrixView& state) = 0;
  /// Adds what the layer is to a stack that its device works on as a whole, and where its gradients go: absent views
  /// before prepare_training.
  virtual void add_to(DenseStack& stack, std::vector<DenseParams>& gradients) const = 0;

  /// Enqueues the optimizer's step.
  virtual void update(const MatrixView& /*state*/) {}
};

/// out = activation(in weight^T + bias); see Device::dense_forward.
std::unique_ptr<Layer> make_dense_layer(Device& device, std::int64_t inputs, std::int64_t outputs,
                                        const Activation& activation);

/// Drops elements while training; see Device::dropout.
std::unique_ptr<Layer> make_dropout_layer(Device& device, std::int64_t width, const DropoutParams& params);

}  // namespace curate
