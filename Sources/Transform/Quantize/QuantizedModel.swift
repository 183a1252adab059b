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

/// A model as a method leaves it, and as it is packed: what refinement starts from and gives back.
package struct QuantizedModel: Sendable {
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

/// What quantizing one tensor cost: of the values as they are read back, in the element type.
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
  /// As `ElementType.rawValue`, in full precision.
  public var elementType: String
  /// Dimensions, outermost first.
  public var shape: [Int]
  /// Bits of a code, 1 to 8.
  public var bitWidth: Int
  /// `tensor`, `channel` or `group:N`.
  public var granularity: String
  /// Matrices stacked along the rows that have bounds of their own.
  public var parts: Int
  /// How bounds were found.
  public var search: BoundSearchMethod
  /// Bytes of codes and quantizer parameters.
  public var payloadByteCount: Int
  /// 10·log₁₀(Σ w² / Σ (w − Q(w))²) in decibels; `nil` when there is no error or no signal.
  public var signalToQuantizationNoise: Double?
  /// The root mean square error, √(mean (w − Q(w))²).
  public var rootMeanSquareError: Double
  /// The largest error, max |w − Q(w)|.
  public var maximumError: Double
  /// The share, 0 to 1, of elements whose nearest code lies outside the range of codes.
  public var clippedShare: Double
  /// `E‖Wx − Ŵx̂‖² / E‖Wx‖²`, the bias as stored taken into account; `nil` without calibration.
  public var relativeOutputError: Double?
  /// `σ_max / σ_min` of the worst part before conditioning; `nil` where the weight was not
  /// conditioned.
  public var conditionNumberBefore: Double?
  /// `σ_max / σ_min` of the worst part of what was rounded; `nil` where the weight was not
  /// conditioned.
  public var conditionNumberAfter: Double?

  /// Compares `values` in Float32 with what `tensor` makes of them.
  ///
  /// - Throws: `ModelError` when the tensor cannot be decoded.
  init(
    name: String, values: [Float], tensor: QuantizedTensor, search: BoundSearchMethod
  ) throws {
    self.init(
      name: name, tensor: tensor, search: search,
      cost: try QuantizationError(of: tensor, from: values).cost)
  }

  /// What quantizing a weight of `plan` cost.
  init(name: String, plan: QuantizationPlan, _ outcome: WeightQuantizer.Outcome) {
    self.init(
      name: name, tensor: outcome.tensor,
      search: plan.entries[name]?.quantization?.search ?? plan.recipe.defaults.search,
      cost: outcome.cost)
    relativeOutputError = outcome.outputError
    conditionNumberBefore = outcome.conditionNumbers?.before
    conditionNumberAfter = outcome.conditionNumbers?.after
  }

  /// - Parameter cost: of rounding the tensor of that name to `tensor`.
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

/// What distillation did to a quantized model.
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
  /// Steps taken, those of earlier runs that a checkpoint continued included.
  public let stepCount: Int
  /// The step after which the model was what is kept: that which did best; 0 for the model as it was
  /// before any step.
  public let keptStepCount: Int
  /// Whether it ended before its limit, for want of gains.
  public let isStoppedEarly: Bool
  /// Seconds of the clock on the wall, earlier runs that a checkpoint continued included.
  public let seconds: Double
  /// The loss of the first step; `nil` without steps.
  public let firstLoss: Double?
  /// The loss of the last step; `nil` without steps.
  public let lastLoss: Double?
  /// How near the quantized model's images are to those of the model in full precision, on
  /// patches that were not learned from: PSNR in dB over all samples, before any step.
  public let psnrBefore: Double
  /// The same of the model that is kept.
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
