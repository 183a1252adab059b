import Formats
import OrderedCollections

extension Distillation {
  /// The quantized weights with what was learned, their codes as they round now.
  var weights: [WeightQuantization] { quantization.weights(store) }

  /// The quantized activations with what was learned.
  var activations: [ActivationQuantizer] { quantization.activations(store) }

  /// All tensors in full precision: those that are not quantized, and the numbers that quantized
  /// weights are rounded from.
  var tensors: OrderedDictionary<String, [Float]> {
    var tensors: OrderedDictionary<String, [Float]> = [:]
    for entry in store.entries
    where entry.group != .activationBounds && entry.group != .weightBounds {
      tensors[entry.name] = store.values(entry.reference)
    }
    return tensors
  }

  /// The gradient of a parameter that `differentiate` gave, by its name in the checkpoint, or
  /// `<weight>.lower`, `<weight>.scale`, `<site>.lower`, `<site>.upper`; `nil` for other names.
  func gradient(_ name: String) -> [Float]? {
    store[name].map { Array(store.gradients[$0.range]) }
  }
}
