/// What the bounds of an activation quantizer are measured in.
///
/// ```swift
/// for quantizer in try FormatRegistry.standard.open("model.condi").activations {
///   print(quantizer.name, quantizer.scaling.rawValue)
/// }
/// // layers.0.attn.qkv.input group:16
/// ```
public enum ActivationScaling: Hashable, Sendable {
  /// The activation's own values: the same bounds for all of them, as 2DQuant has it.
  case tensor
  /// The largest magnitude of each row of values, which is found when the model runs: a token's
  /// features (token-wise quantization of ZeroQuant, Yao et al. 2022, arXiv:2206.01861), a query's
  /// attention weights. Bounds are multiples of it, most often from −1 to 1.
  case row
  /// The range of each group of so many successive values of a row, at least 2, found when the model
  /// runs: −1 is the least value of the group, 1 the greatest. The last group of a row may be shorter.
  /// (Asymmetric group-wise quantization, as weights of GPTQ and GGUF have it, of activations.)
  case group(Int)
}

/// `tensor`, `row`, and `group:16` for groups of 16.
extension ActivationScaling: RawRepresentable, Codable {
  /// What a group's size may be.
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

  /// Values of a group; `nil` where there are none.
  public var groupSize: Int? {
    if case .group(let size) = self { size } else { nil }
  }
}

/// The clipping bounds of one activation, as 2DQuant places them.
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
  /// Bits of a code, 1 to 8.
  public var bitWidth: Int
  /// What code 0 stands for, as `scaling` says.
  public var lower: Float
  /// What the largest code stands for, as `scaling` says.
  public var upper: Float
  /// What the bounds are measured in.
  public var scaling: ActivationScaling

  public init(
    name: String, bitWidth: Int, lower: Float, upper: Float, scaling: ActivationScaling = .tensor
  ) {
    self.name = name
    self.bitWidth = bitWidth
    self.lower = lower
    self.upper = upper
    self.scaling = scaling
  }
}
