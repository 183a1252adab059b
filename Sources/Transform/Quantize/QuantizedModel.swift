import Formats
import OrderedCollections

/// A quantized layer: codes and bounds, and what they came from.
public struct QuantizedLayer: Sendable {
  /// Codes, a lower bound and a scale a cell. `w = lower + scale · code`: a refiner that learns a
  /// scale and an offset of the weight changes these alone.
  public var tensor: QuantizedTensor
  /// What the codes approximate, row-major: the weight, conditioned where the method does so. A
  /// refiner that moves bounds encodes it again.
  public var target: [Float]
  /// The bias as it is to be stored; `nil` for the model's own, or none.
  public var bias: [Double]?
  /// What quantization cost.
  public var summary: QuantizationSummary
}

/// A model as a method leaves it, and as it is packed: what refinement starts from and gives back.
public struct QuantizedModel: Sendable {
  /// By the weight's name, in the order of the archive, shared tensors once.
  public var layers: OrderedDictionary<String, QuantizedLayer>
  /// By the name of the site.
  public var activations: OrderedDictionary<String, ActivationQuantizer>

  public init(
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
/// biases and the bounds of activations may change.
public protocol QuantizationRefiner: Sendable {
  /// - Parameter original: the model in full precision.
  func refined(_ model: QuantizedModel, original: TensorArchive) throws -> QuantizedModel
}
