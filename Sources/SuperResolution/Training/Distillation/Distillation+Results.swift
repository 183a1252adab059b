import Formats
import OrderedCollections

extension Distillation {
  /// The quantized weights with the learned bounds and their current codes.
  package var weights: [WeightQuantization] { quantization.weights(store) }

  /// The quantized activations with the learned bounds.
  package var activations: [ActivationQuantizer] { quantization.activations(store) }

  /// All tensors in full precision: those that are not quantized, and the latent values of
  /// quantized weights.
  package var tensors: OrderedDictionary<String, [Float]> {
    var tensors: OrderedDictionary<String, [Float]> = [:]
    for entry in store.entries {
      switch entry.group {
      case .activationBounds, .weightBounds, nil: continue
      case .latentWeights, .biases, .norms, .others:
        tensors[entry.name] = store.values(entry.reference)
      }
    }
    return tensors
  }

  /// Returns the gradient that `differentiate` computed for a parameter, by its name in the
  /// checkpoint, or `<weight>.lower`, `<weight>.scale`, `<site>.lower`, `<site>.upper`; `nil` for
  /// other names.
  func gradient(_ name: String) -> [Float]? {
    store[name].map { Array(store.gradients[$0.range]) }
  }
}
