import Formats
import OrderedCollections

/// A quantized layer: codes and bounds, and their target.
package struct QuantizedLayer: Sendable {
  /// The codes, with one lower bound and one scale per cell. `w = lower + scale · code`: a refiner
  /// that learns a scale and an offset of the weight changes only these.
  package var tensor: QuantizedTensor
  /// The values that the codes approximate, row-major: the weight, conditioned if the method does
  /// so. A refiner that moves bounds encodes it again.
  package var target: [Float]
  /// The bias to store; `nil` for the model's own, or none.
  package var bias: [Double]?
  /// The cost of quantization.
  package var summary: QuantizationSummary

  /// Returns the layer with learned bounds and codes and newly measured costs.
  ///
  /// The new summary drops the error of the output and, if `target` changed, the condition numbers.
  ///
  /// - Parameters:
  ///   - lower: one per cell; rounded to the type in which they are stored.
  ///   - scale: likewise.
  ///   - codes: one per element.
  ///   - target: the values that the codes now approximate.
  ///   - original: the weight in full precision.
  /// - Throws: `ModelError` when they do not fit the layer or cannot be stored.
  package func refined(
    lower: [Float], scale: [Float], codes: [UInt8], target: [Float], original: [Float]
  ) throws -> QuantizedLayer {
    var layer = self
    layer.tensor = try QuantizedTensor(
      elementType: tensor.elementType, shape: tensor.shape, spec: tensor.spec,
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

/// A quantized model before packing, which refinement takes and returns.
package struct QuantizedModel: Sendable {
  /// The layers by the weight's name, in the order of the archive, shared tensors once.
  package var layers: OrderedDictionary<String, QuantizedLayer>
  /// The activation quantizers by the name of the site.
  package var activations: OrderedDictionary<String, ActivationQuantizer>
  /// Other tensors in full precision that a refiner changed, by name, row-major; a bias here
  /// replaces that of the layer.
  package var tensors: [String: [Float]] = [:]
  /// The summary of distillation; `nil` without it.
  package var distillation: DistillationSummary?

  package init(
    layers: OrderedDictionary<String, QuantizedLayer> = [:],
    activations: OrderedDictionary<String, ActivationQuantizer> = [:]
  ) {
    self.layers = layers
    self.activations = activations
  }
}

/// The cost of quantizing one tensor, measured on the values as read back in the element type.
///
/// ```swift
/// let archive = try FormatRegistry.standard.open("model.pth")
/// let outcome = try Compressor(archive, recipe: .named("body")).write(to: "model.condi")
/// for layer in outcome.layers {
///   print(layer.name, layer.bitWidth, layer.signalToQuantizationNoise ?? .infinity)
/// }
/// ```
public struct QuantizationSummary: Hashable, Sendable, Codable {
  /// The tensor's full name.
  public var name: String
  /// The full-precision element type, as `ElementType.rawValue`.
  public var elementType: String
  /// The dimensions, outermost first.
  public var shape: [Int]
  /// The bit width of a code, 1 to 8.
  public var bitWidth: Int
  /// The granularity: `tensor`, `channel` or `group:N`.
  public var granularity: String
  /// The number of matrices stacked along the rows that have their own bounds.
  public var parts: Int
  /// The method by which bounds were found.
  public var search: BoundSearchMethod
  /// The number of bytes of codes and quantizer parameters.
  public var payloadByteCount: Int
  /// 10·log₁₀(Σ w² / Σ (w − Q(w))²) in decibels; `nil` when there is no error or no signal.
  public var signalToQuantizationNoise: Double?
  /// The root mean square error, √(mean (w − Q(w))²).
  public var rootMeanSquareError: Double
  /// The largest error, max |w − Q(w)|.
  public var maximumError: Double
  /// The fraction, 0 to 1, of elements whose nearest code lies outside the range of codes.
  public var clippedShare: Double
  /// `E‖Wx − Ŵx̂‖² / E‖Wx‖²`, including the stored bias; `nil` without calibration.
  public var relativeOutputError: Double?
  /// `σ_max / σ_min` of the worst part before conditioning; `nil` if the weight was not
  /// conditioned.
  public var conditionNumberBefore: Double?
  /// `σ_max / σ_min` of the worst part of the rounded matrix; `nil` if the weight was not
  /// conditioned.
  public var conditionNumberAfter: Double?

  /// Compares `values` in Float32 with those of `tensor`.
  ///
  /// - Throws: `ModelError` when the tensor cannot be decoded.
  init(
    name: String, values: [Float], tensor: QuantizedTensor, search: BoundSearchMethod
  ) throws {
    self.init(
      name: name, tensor: tensor, search: search,
      cost: try QuantizationError(of: tensor, from: values).cost)
  }

  /// Creates the summary of quantizing a weight of `plan`.
  init(name: String, plan: QuantizationPlan, _ outcome: WeightQuantizer.Outcome) {
    self.init(
      name: name, tensor: outcome.tensor,
      search: plan.entries[name]?.quantization?.search ?? plan.recipe.defaults.search,
      cost: outcome.cost)
    relativeOutputError = outcome.outputError
    conditionNumberBefore = outcome.conditionNumbers?.before
    conditionNumberAfter = outcome.conditionNumbers?.after
  }

  /// - Parameter cost: the cost of rounding the original tensor to `tensor`.
  init(
    name: String, tensor: QuantizedTensor, search: BoundSearchMethod, cost: RoundingCost
  ) {
    self.name = name
    elementType = tensor.elementType.rawValue
    shape = tensor.shape.dimensions
    bitWidth = tensor.bitWidth
    granularity = "\(tensor.layout.granularity)"
    parts = tensor.layout.parts
    self.search = search
    payloadByteCount = tensor.codes.count + tensor.spec.parameterByteCount
    signalToQuantizationNoise = cost.signal > 0 && cost.noise > 0 ? cost.signalToNoise : nil
    rootMeanSquareError = cost.rootMeanSquare
    maximumError = cost.maximum
    clippedShare = cost.clippedShare
  }
}

/// The summary of the distillation of a quantized model.
///
/// ```swift
/// let archive = try FormatRegistry.standard.open("model.pth")
/// var compressor = try Compressor(archive, recipe: .calibrated(bitWidth: 2))
/// try compressor.calibrate(with: .images("photos"))
/// if let learned = try compressor.write(to: "model.condi").distillation {
///   print("\(learned.stepCount) steps: \(learned.psnrBefore) to \(learned.psnrAfter) dB")
/// }
/// ```
public struct DistillationSummary: Codable, Hashable, Sendable {
  /// The number of steps taken, including those of earlier runs that a checkpoint continued.
  public let stepCount: Int
  /// The step after which the kept model, the best one, was reached; 0 for the model before any
  /// step.
  public let keptStepCount: Int
  /// Whether it ended before its limit because there was no more gain.
  public let isStoppedEarly: Bool
  /// The elapsed seconds, including those of earlier runs that a checkpoint continued.
  public let seconds: Double
  /// The loss of the first step; `nil` without steps.
  public let firstLoss: Double?
  /// The loss of the last step; `nil` without steps.
  public let lastLoss: Double?
  /// How near the quantized model's images are to those of the model in full precision, on
  /// patches that were not learned from: PSNR in dB over all samples, before any step.
  public let psnrBefore: Double
  /// The same PSNR for the model that is kept.
  public let psnrAfter: Double

  package init(
    stepCount: Int, keptStepCount: Int, isStoppedEarly: Bool, seconds: Double, firstLoss: Double?,
    lastLoss: Double?, psnrBefore: Double, psnrAfter: Double
  ) {
    self.stepCount = stepCount
    self.keptStepCount = keptStepCount
    self.isStoppedEarly = isStoppedEarly
    self.seconds = seconds
    self.firstLoss = firstLoss
    self.lastLoss = lastLoss
    self.psnrBefore = psnrBefore
    self.psnrAfter = psnrAfter
  }
}
