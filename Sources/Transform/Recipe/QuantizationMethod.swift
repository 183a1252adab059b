import Formats

/// How a model is quantized as a whole; each method adds to those before it.
///
/// ```swift
/// print(QuantizationMethod.allCases.filter(\.distills).map(\.rawValue))
/// // ["2dquant", "condiquant", "best"]
/// let recipe = Recipe.calibrated(bitWidth: 4, method: .condiQuant, learningFor: .steps(500))
/// print(recipe.jsonValue.serialized(pretty: true))
/// ```
public enum QuantizationMethod: String, Hashable, Sendable, CaseIterable, Codable {
  /// Bounds from the smallest to the largest value.
  case minimumMaximum = "minmax"
  /// Bounds by DOBI, the search of 2DQuant.
  case dobi
  /// 2DQuant (arXiv:2406.06649): DOBI, and bounds refined by distillation where a refiner is at
  /// hand.
  case twoDQuant = "2dquant"
  /// CondiQuant (arXiv:2502.15478): weights are conditioned first, then as 2DQuant.
  case condiQuant = "condiquant"
  /// Equalized channels where the model runs on images (see `ChannelEqualization`), bounds of
  /// activations that follow the range of each group of 16 values (see `ActivationScaling`), conditioned
  /// weights that absorb the error of activations, free bounds, error-aware rounding, corrected biases;
  /// then as 2DQuant.
  case best

  /// How bounds of weights and activations are found.
  public var search: BoundSearchMethod {
    switch self {
    case .minimumMaximum: .minimumMaximum
    case .dobi, .twoDQuant, .condiQuant: .dobi
    case .best: .free
    }
  }

  /// Whether weights are conditioned.
  public var conditions: Bool { self == .condiQuant || self == .best }

  /// Whether weights are rounded for the least error of the layer's output, and biases corrected.
  public var isErrorAware: Bool { self == .best }

  /// What bounds of activations are measured in where settings do not say; where whole rows were recorded
  /// in the place of groups, in these. The papers' methods have the same bounds for all values.
  public var activationScaling: ActivationScaling { self == .best ? .group(16) : .tensor }

  /// Whether the quantized model learns from the model in full precision.
  public var distills: Bool {
    switch self {
    case .minimumMaximum, .dobi: false
    case .twoDQuant, .condiQuant, .best: true
    }
  }
}

/// A method and its numbers.
///
/// ```swift
/// var recipe = try Recipe.named("body-linear")
/// recipe.method = MethodSettings(
///   .condiQuant, activationBitWidth: 8, calibration: CalibrationRecipe(patches: .init()),
///   distillation: DistillationRecipe(limit: .steps(500)))
/// print(recipe.jsonValue.serialized(pretty: true))
/// ```
public struct MethodSettings: Hashable, Sendable {
  /// The method that the other settings are for.
  public var method: QuantizationMethod
  /// What conditioning aims at; `nil` leaves weights as they are, for a model that is conditioned
  /// already.
  public var constraint: ConditionConstraint?
  /// Bits of activations; `nil` for those of the layer's weight.
  public var activationBitWidth: Int?
  /// What bounds of layers' inputs are measured in. With groups, queries, keys and values have heads as
  /// theirs where products are summed up within heads, else bounds in their own values; attention weights
  /// have whole rows. `nil` for the method's; a calibration whose inputs and attention weights cannot
  /// serve what is said here is refused.
  public var activationScaling: ActivationScaling?
  /// Activations stay in full precision.
  public var isWeightsOnly: Bool
  /// What activations are recorded on; `nil` where nothing is known of them.
  public var calibration: CalibrationRecipe?
  /// How the quantized model learns; `nil` where it does not.
  public var distillation: DistillationRecipe?

  public init(
    _ method: QuantizationMethod, constraint: ConditionConstraint? = .standard,
    activationBitWidth: Int? = nil, activationScaling: ActivationScaling? = nil,
    isWeightsOnly: Bool = false,
    calibration: CalibrationRecipe? = nil, distillation: DistillationRecipe? = nil
  ) {
    self.calibration = calibration
    self.distillation = distillation
    self.method = method
    self.constraint = constraint
    self.activationBitWidth = activationBitWidth
    self.activationScaling = activationScaling
    self.isWeightsOnly = isWeightsOnly
  }

  /// What is said of activations' bounds, or what suits the method.
  package var scaling: ActivationScaling { activationScaling ?? method.activationScaling }

  var conditioner: Conditioner? {
    method.conditions ? constraint.map { Conditioner($0) } : nil
  }
}

/// How the bounds of a quantizer are found.
///
/// ```swift
/// var recipe = try Recipe.named("all-linear")
/// recipe.defaults.search = .minimumMaximum  // fast, and good enough at 8 bits
/// recipe.defaults.bitWidth = 8
/// let archive = try FormatRegistry.standard.open("model.safetensors")
/// try Compressor(archive, recipe: recipe).write(to: "model.condi")
/// ```
public enum BoundSearchMethod: String, Hashable, Sendable, CaseIterable, Codable {
  /// The smallest and the largest value.
  case minimumMaximum = "minmax"
  /// The best of 100 ranges that narrow at both ends at the same pace: DOBI of 2DQuant.
  case dobi
  /// The best of 100 ranges that narrow at the upper end alone: DOBI for long-tailed data of one
  /// sign, such as the output of a softmax.
  case dobiOneSided = "dobi-one-sided"
  /// `dobi`, and from there a pattern search that moves both bounds on their own.
  case free
}

/// What the bit widths of a model's weights are chosen for.
///
/// ```swift
/// var recipe = try Recipe.named("body")
/// recipe.budget = .byteCount(1_500_000)
/// let archive = try FormatRegistry.standard.open("model.pth")
/// let outcome = try Compressor(archive, recipe: recipe).write(to: "model.condi")
/// print(outcome.layers.map(\.bitWidth), outcome.summary.fileByteCount)
/// ```
public enum SizeBudget: Hashable, Sendable {
  /// The packed file has at most so many bytes.
  case byteCount(Int)
  /// `CompressionRatios.parameters` is at least this.
  case ratio(Double)
  /// `CompressionRatios.paper` is at least this.
  case paperRatio(Double)
  /// Codes, bounds and scales take at most so many bits a quantized weight.
  case bitsPerWeight(Double)
}

extension SizeBudget: CustomStringConvertible {
  public var description: String {
    switch self {
    case .byteCount(let count): "at most \(count) bytes"
    case .ratio(let ratio): "a parameters ratio of at least \(ratio)"
    case .paperRatio(let ratio): "a paper ratio of at least \(ratio)"
    case .bitsPerWeight(let bits): "at most \(bits) bits a weight"
    }
  }
}
