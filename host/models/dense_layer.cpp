#include <utility>

#include "models/layer.h"

namespace curate {
namespace {

class DenseLayer : public Layer {
 public:
  DenseLayer(Device& device, std::int64_t inputs, std::int64_t outputs, const Activation& activation)
      : device_(&device), inputs_(inputs), outputs_(outputs), activation_(activation), parameters_(allocate()) {}

  std::int64_t outputs() const override { return outputs_; }

  std::vector<NamedParameter> parameters() const override { return named(parameters_); }
  std::vector<NamedParameter> gradients() const override { return named(gradients_); }

  std::vector<NamedParameter> slots() const override {
    std::vector<NamedParameter> all;
    for (const auto& [name, buffer] :
         {std::pair("first_moment", &first_moments_), {"second_moment", &second_moments_}}) {
      if (buffer->bytes() > 0) {
        all.push_back({name, buffer->view(DType::f32, (inputs_ + 1) * outputs_), true});
      }
    }
    return all;
  }

  void prepare_training(const TrainingPlan& plan) override {
    optimizer_ = dense_optimizer(plan);
    gradients_ = allocate();
    if (optimizer_.kind == OptimizerKind::adam) {
      first_moments_ = allocate();
    }
    if (optimizer_.kind != OptimizerKind::sgd) {
      second_moments_ = allocate();
    }
  }

  void end_training() override {
    gradients_ = {};
    first_moments_ = {};
    second_moments_ = {};
  }

  void prepare_products(const TrainingPlan& plan) override {
    device_->prepare_dense({plan.batch, inputs_, outputs_}, plan.products);
  }

  void forward(const DenseBatch& batch, const MatrixView& state) const override {
    device_->dense_forward(batch, params(parameters_), activation_, state);
  }

  void backward(const DenseBatch& grad, const DenseBatch& batch, const MatrixView& state) override {
    device_->dense_backward(grad, params(gradients_), batch, params(parameters_), activation_, state);
  }

  void add_to(DenseStack& stack, std::vector<DenseParams>& gradients) const override {
    stack.push_back({params(parameters_), activation_, {}});
    gradients.push_back(params(gradients_));
  }

  void update(const MatrixView& state) override {
    const DenseParams moments1 = params(first_moments_);
    const DenseParams moments2 = params(second_moments_);
    device_->update_dense({weight(parameters_), weight(gradients_), moments1.weight, moments2.weight}, optimizer_,
                          state);
    // Biases are neither regularized nor decayed.
    OptimizerParams bias_optimizer = optimizer_;
    bias_optimizer.l2 = 0.0F;
    bias_optimizer.weight_decay = 0.0F;
    device_->update_dense({bias(parameters_), bias(gradients_), moments1.bias, moments2.bias}, bias_optimizer, state);
  }

 private:
  /// Weight and bias one after the other.
  Buffer allocate() const {
    const std::int64_t elements = (inputs_ + 1) * outputs_;
    Buffer buffer = device_->allocate_array<float>(elements);
    device_->zero(buffer.view(DType::f32, elements));
    return buffer;
  }

  MatrixView weight(const Buffer& buffer) const { return buffer.view(DType::f32, outputs_, inputs_); }
  MatrixView bias(const Buffer& buffer) const { return buffer.view(DType::f32, outputs_, 1, 1, inputs_ * outputs_); }

  /// Absent views where the buffer is.
  DenseParams params(const Buffer& buffer) const {
    return buffer.bytes() == 0 ? DenseParams{} : DenseParams{weight(buffer), bias(buffer)};
  }

  std::vector<NamedParameter> named(const Buffer& buffer) const {
    return {{"weight", weight(buffer)}, {"bias", bias(buffer), true}};
  }

  Device* device_;
  std::int64_t inputs_;
  std::int64_t outputs_;
  Activation activation_;
  OptimizerParams optimizer_;
  Buffer parameters_;
  Buffer gradients_;
  Buffer first_moments_;
  Buffer second_moments_;
};

}  // namespace

std::unique_ptr<Layer> make_dense_layer(Device& device, std::int64_t inputs, std::int64_t outputs,
                                        const Activation& activation) {
  return std::make_unique<DenseLayer>(device, inputs, outputs, activation);
}

}  // namespace curate
