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

  void add_trainables(std::vector<TrainableLayer>& all) const override {
    all.push_back({"", params(parameters_), params(gradients_)});
  }

  void prepare_gradients() override {
    const MemoryLabel label(*device_, "gradients");
    gradients_ = allocate();
  }
  void end_gradients() override { gradients_ = {}; }

  void prepare_products(std::int64_t batch, ProductPrecision precision) override {
    device_->run(ops::PrepareDense{{batch, inputs_, outputs_}, precision});
  }

  void forward(const DenseBatch& batch, const MatrixView& state) const override {
    device_->enqueue(ops::DenseForward{batch, params(parameters_), activation_, state});
  }

  void backward(const DenseBatch& grad, const DenseBatch& batch, const MatrixView& state) override {
    device_->enqueue(ops::DenseBackward{grad, params(gradients_), batch, params(parameters_), activation_, state});
  }

  void add_to(DenseStack& stack, std::vector<DenseParams>& gradients) const override {
    stack.push_back({params(parameters_), activation_, {}});
    gradients.push_back(params(gradients_));
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

  /// Absent views if the buffer is empty.
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
  Buffer parameters_;
  Buffer gradients_;
};

}  // namespace

std::unique_ptr<Layer> make_dense_layer(Device& device, std::int64_t inputs, std::int64_t outputs,
                                        const Activation& activation) {
  return std::make_unique<DenseLayer>(device, inputs, outputs, activation);
}

}  // namespace curate
