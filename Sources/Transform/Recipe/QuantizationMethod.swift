import Formats

/// The method by which a whole model is quantized; each method extends those before it.
///
/// ```swift
/// print(QuantizationMethod.allCases.filter(\.distills).map(\.rawValue))
/// // ["2dquant", "condiquant", "best"]
/// let recipe = Recipe.calibrated(bitWidth: 4, method: .condiQuant, learningFor: .steps(500))
/// print(recipe.jsonValue.serialized(pretty: true))
/// ```
public enum QuantizationMethod: String, Hashable, Sendable, CaseIterable, Codable {
  /// Each weight is rounded to nearest on its own, and activations stay in full precision.
  case nearest
  /// Bounds from the smallest to the largest value.
  case minimumMaximum = "minmax"
  /// Bounds by DOBI, the search of 2DQuant.
  case dobi
  /// 2DQuant (arXiv:2406.06649): DOBI, and bounds refined by distillation if a refiner is
  /// available.
  case twoDQuant = "2dquant"
  /// CondiQuant (arXiv:2502.15478): weights are conditioned first, then quantized as in 2DQuant.
  case condiQuant = "condiquant"
  /// Equalized channels where the model runs on images (see `ChannelEqualization`), bounds of
  /// activations that follow the range of each group of 16 values (see `ActivationScaling`),
  /// attention weights whose sum is 1 after rounding as well (see `ActivationQuantizer`), weights
  /// that absorb the error of activations and, if asked for, are conditioned, free bounds,
  /// error-aware rounding, corrected biases; then as 2DQuant.
  case best

  /// The method by which bounds of weights and activations are found.
  public var search: BoundSearchMethod {
    switch self {
    case .minimumMaximum: .minimumMaximum
    case .nearest, .dobi, .twoDQuant, .condiQuant: .dobi
    case .best: .free
    }
  }

  /// Whether activations are quantized, if a calibration is available.
  public var quantizesActivations: Bool { self != .nearest }

  /// Whether weights can be conditioned.
  public var conditions: Bool { self == .condiQuant || self == .best }

  /// The default constraint of conditioning; `nil` if weights stay as they are. Measurements of
  /// what it costs and gains: `Benchmarks/results/conditioning.md`.
  public var constraint: ConditionConstraint? { self == .condiQuant ? .standard : nil }

  /// Whether weights are rounded so that the error of the layer's output is minimal, and biases are
  /// corrected.
  public var isErrorAware: Bool { self == .best }

  /// The default granularity of activation bounds. If whole rows were recorded instead of groups,
  /// rows are used. The papers' methods use the same bounds for all values.
  public var activationScaling: ActivationScaling { self == .best ? .group(16) : .tensor }

  /// Whether the quantized model is distilled from the full-precision model.
  public var distills: Bool {
    switch self {
    case .nearest, .minimumMaximum, .dobi: false
    case .twoDQuant, .condiQuant, .best: true
    }
  }
}

/// A method and its settings.
///
/// ```swift
/// var recipe = try Recipe.named("body-linear")
/// recipe.method = MethodSettings(
///   .condiQuant, activationBitWidth: 8, calibration: CalibrationRecipe(patches: .init()),
///   distillation: DistillationRecipe(limit: .steps(500)))
/// print(recipe.jsonValue.serialized(pretty: true))
/// ```
public struct MethodSettings: Hashable, Sendable {
  /// The method to which the other settings apply.
  public var method: QuantizationMethod
  /// The constraint of conditioning, at first the method's; `nil` to leave weights as they are.
  public var constraint: ConditionConstraint?
  /// The bit width of activations; `nil` for that of the layer's weight.
  public var activationBitWidth: Int?
  /// The granularity of the bounds of layers' inputs; `nil` for the method's. With groups, queries,
  /// keys and values use heads as groups if products are summed within heads, and otherwise the
  /// same bounds for all values; attention weights use whole rows. A calibration that lacks the
  /// required statistics of inputs and attention weights is rejected.
  public var activationScaling: ActivationScaling?
  /// Whether activations stay in full precision.
  public var isWeightsOnly: Bool
  /// The material on which activations are recorded; `nil` without calibration.
  public var calibration: CalibrationRecipe?
  /// How the quantized model is distilled; `nil` if it is not.
  public var distillation: DistillationRecipe?

  public init(
    _ method: QuantizationMethod, activationBitWidth: Int? = nil,
    activationScaling: ActivationScaling? = nil, isWeightsOnly: Bool = false,
    calibration: CalibrationRecipe? = nil, distillation: DistillationRecipe? = nil
  ) {
    self.calibration = calibration
    self.distillation = distillation
    self.method = method
    self.constraint = method.constraint
    self.activationBitWidth = activationBitWidth
    self.activationScaling = activationScaling
    self.isWeightsOnly = isWeightsOnly
  }

  /// The granularity of activation bounds in these settings, or that of the method.
  package var scaling: ActivationScaling { activationScaling ?? method.activationScaling }

  /// Whether activations are quantized, if a calibration is available.
  var quantizesActivations: Bool { method.quantizesActivations && !isWeightsOnly }

  var conditioner: Conditioner? {
    method.conditions ? constraint.map { Conditioner($0) } : nil
  }
}

/// The method by which the bounds of a quantizer are found.
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
  /// The best of 100 ranges that narrow only at the upper end: DOBI for long-tailed data of one
  /// sign, such as the output of a softmax.
  case dobiOneSided = "dobi-one-sided"
  /// A pattern search that starts from `dobi` and moves both bounds separately.
  case free
  /// The scale and the lower bound of a group together, by least squares in turn with its codes,
  /// and then among the bounds that can be stored. It takes the place of `dobi` and `free` for
  /// parameters of type `scaled6`.
  case joint
}

/// The budget for which the bit widths of a model's weights are chosen.
///
/// ```swift
/// var recipe = try Recipe.named("body")
/// recipe.budget = .byteCount(1_500_000)
/// let archive = try FormatRegistry.standard.open("model.pth")
/// let outcome = try Compressor(archive, recipe: recipe).write(to: "model.condi")
/// print(outcome.layers.map(\.bitWidth), outcome.summary.fileByteCount)
/// ```
public enum SizeBudget: Hashable, Sendable {
  /// The packed file has at most this many bytes.
  case byteCount(Int)
  /// `CompressionRatios.parameters` is at least this.
  case ratio(Double)
  /// `CompressionRatios.paper` is at least this.
  case paperRatio(Double)
  /// Codes, bounds and scales take at most this many bits per quantized weight.
  case bitsPerWeight(Double)
}

extension SizeBudget: CustomStringConvertible {
  public var description: String {
    switch self {
    case .byteCount(let count): "at most \(count) bytes"
    case .ratio(let ratio): "a parameters ratio of at least \(ratio)"
    case .paperRatio(let ratio): "a paper ratio of at least \(ratio)"
    case .bitsPerWeight(let bits): "at most \(bits) bits per weight"
    }
  }
}
