#include "models/layer.h"

namespace curate {
namespace {

class DropoutLayer : public Layer {
 public:
  DropoutLayer(Device& device, std::int64_t width, const DropoutParams& params)
      : device_(&device), width_(width), params_(params) {}

  std::int64_t outputs() const override { return width_; }
  bool only_when_training() const override { return true; }

  // Not in place: the layer before needs its own output for the derivative of its activation.
  void forward(const DenseBatch& batch, const MatrixView& state) const override {
    device_->copy(batch.out, batch.in);
    device_->enqueue(ops::Dropout{batch.out, params_, state});
  }

  void backward(const DenseBatch& grad, const DenseBatch& /*batch*/, const MatrixView& state) override {
    device_->copy(grad.in, grad.out);
    device_->enqueue(ops::Dropout{grad.in, params_, state});
  }

  void add_to(DenseStack& stack, std::vector<DenseParams>& /*gradients*/) const override {
    stack.back().dropout = params_;
  }

 private:
  Device* device_;
  std::int64_t width_;
  DropoutParams params_;
};

}  // namespace

std::unique_ptr<Layer> make_dropout_layer(Device& device, std::int64_t width, const DropoutParams& params) {
  return std::make_unique<DropoutLayer>(device, width, params);
}

}  // namespace curate
