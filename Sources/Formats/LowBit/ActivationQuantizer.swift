/// The granularity of activation bounds.
///
/// ```swift
/// for quantizer in try FormatRegistry.standard.open("model.condi").activations {
///   print(quantizer.name, quantizer.scaling.rawValue)
/// }
/// // layers.0.attn.qkv.input group:16
/// ```
public enum ActivationScaling: Hashable, Sendable {
  /// The same bounds, in the activation's own units, for all values, as in 2DQuant.
  case tensor
  /// Bounds relative to the largest magnitude of each row of values, which is found when the model
  /// runs; they are usually −1 and 1. A row is a token's features (token-wise quantization of
  /// ZeroQuant, Yao et al. 2022, arXiv:2206.01861) or a query's attention weights.
  case row
  /// Bounds relative to the range of each group of the given number of successive values of a row,
  /// at least 2, which is found when the model runs: −1 is the group's least value, 1 its greatest.
  /// The last group of a row may be shorter. (Asymmetric group-wise quantization of activations, as
  /// GPTQ and GGUF apply it to weights.)
  case group(Int)
}

/// The raw values are `tensor`, `row`, and, for groups of 16, `group:16`.
extension ActivationScaling: RawRepresentable, Codable {
  /// The valid group sizes.
  public static let groupSizes = 2...65536

  public init?(rawValue: String) {
    switch rawValue {
    case "tensor": self = .tensor
    case "row": self = .row
    default:
      guard rawValue.hasPrefix("group:"), let size = Int(rawValue.dropFirst("group:".count)),
        Self.groupSizes.contains(size), rawValue == "group:\(size)"
      else { return nil }
      self = .group(size)
    }
  }

  public var rawValue: String {
    switch self {
    case .tensor: "tensor"
    case .row: "row"
    case .group(let size): "group:\(size)"
    }
  }

  /// The number of values per group; `nil` without groups.
  public var groupSize: Int? {
    if case .group(let size) = self { size } else { nil }
  }
}

/// The clipping bounds of one activation, placed as in 2DQuant.
///
/// ```swift
/// let activations = try FormatRegistry.standard.open("model.condi").activations
/// for quantizer in activations where quantizer.scaling == .tensor {
///   let steps = Float((1 << quantizer.bitWidth) - 1)
///   print(quantizer.name, "step \((quantizer.upper - quantizer.lower) / steps)")
/// }
/// ```
public struct ActivationQuantizer: Hashable, Sendable {
  /// The site of the network, such as `layers.0.attn.qkv.input`.
  public var name: String
  /// The bit width of a code, 1 to 8.
  public var bitWidth: Int
  /// The value of code 0, in the units of `scaling`.
  public var lower: Float
  /// The value of the largest code, in the units of `scaling`.
  public var upper: Float
  /// The granularity of the bounds.
  public var scaling: ActivationScaling
  /// Whether the quantized values of each row are divided by their sum, if that is at least 10⁻³⁰: attention
  /// weights, whose sum is 1 before. Small weights that become zero then take nothing from the result.
  /// Rows have no groups.
  public var isNormalized: Bool

  public init(
    name: String, bitWidth: Int, lower: Float, upper: Float, scaling: ActivationScaling = .tensor,
    isNormalized: Bool = false
  ) {
    self.name = name
    self.bitWidth = bitWidth
    self.lower = lower
    self.upper = upper
    self.scaling = scaling
    self.isNormalized = isNormalized
  }
}
