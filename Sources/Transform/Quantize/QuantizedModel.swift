import Formats
import OrderedCollections

/// A quantized layer: codes and bounds, and what they came from.
package struct QuantizedLayer: Sendable {
  /// Codes, a lower bound and a scale a cell. `w = lower + scale · code`: a refiner that learns a
  /// scale and an offset of the weight changes these alone.
  package var tensor: QuantizedTensor
  /// What the codes approximate, row-major: the weight, conditioned where the method does so. A
  /// refiner that moves bounds encodes it again.
  package var target: [Float]
  /// The bias as it is to be stored; `nil` for the model's own, or none.
  package var bias: [Double]?
  /// What quantization cost.
  package var summary: QuantizationSummary

  /// The layer with bounds and codes that were learned, its costs measured anew.
  ///
  /// What the summary said of the output holds no longer, nor of conditioning where `target` changed.
  ///
  /// - Parameters:
  ///   - lower: one a cell; rounded to the type that they are stored in.
  ///   - scale: likewise.
  ///   - codes: one an element.
  ///   - target: what the codes approximate now.
  ///   - original: the weight in full precision.
  /// - Throws: `FormatError` when they do not fit the layer or cannot be stored.
  package func refined(
    lower: [Float], scale: [Float], codes: [UInt8], target: [Float], original: [Float]
  ) throws -> QuantizedLayer {
    var layer = self
    layer.tensor = try QuantizedTensor(
      elementType: tensor.elementType, shape: tensor.shape, layout: tensor.layout,
      bitWidth: tensor.bitWidth, parameterType: tensor.parameterType,
      lower: lower.map(tensor.parameterType.rounded),
      scale: scale.map(tensor.parameterType.rounded),
      codes: BitStream.pack(codes, bitWidth: tensor.bitWidth))
    layer.target = target
    layer.summary = try QuantizationSummary(
      name: summary.name, values: original, tensor: layer.tensor, search: summary.search)
    if target == self.target {
      layer.summary.conditionNumberBefore = summary.conditionNumberBefore
      layer.summary.conditionNumberAfter = summary.conditionNumberAfter
    }
    return layer
  }
}

/// A model as a method leaves it, and as it is packed: what refinement starts from and gives back.
public struct QuantizedModel: Sendable {
  /// By the weight's name, in the order of the archive, shared tensors once.
  package var layers: OrderedDictionary<String, QuantizedLayer>
  /// By the name of the site.
  package var activations: OrderedDictionary<String, ActivationQuantizer>
  /// Other tensors in full precision that a refiner changed, by name, row-major; for a bias they stand
  /// in the place of the layer's.
  package var tensors: [String: [Float]] = [:]
  /// What a refiner that distils did; `nil` without one.
  package var distillation: DistillationSummary?

  package init(
    layers: OrderedDictionary<String, QuantizedLayer> = [:],
    activations: OrderedDictionary<String, ActivationQuantizer> = [:]
  ) {
    self.layers = layers
    self.activations = activations
  }
}

/// Improves a quantized model by what the whole model puts out, as distillation does.
///
/// Layouts, bit widths and names must stay as they are: they are planned. Bounds, scales, codes,
/// biases, tensors in full precision and the bounds of activations may change.
public protocol QuantizationRefiner: Sendable {
  /// Returns the model with what the refiner changed.
  ///
  /// - Parameter original: the model in full precision.
  func refined(_ model: QuantizedModel, original: TensorArchive) throws -> QuantizedModel
}
