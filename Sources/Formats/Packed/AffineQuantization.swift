/// How many elements share one lower bound and one scale.
public enum QuantizationGranularity: Hashable, Sendable {
  /// The whole tensor, or each of its equal parts along the rows.
  case tensor
  /// One output channel: a row.
  case channel
  /// So many neighbouring elements of a row; the last group of a row may be shorter.
  case group(Int)

  /// Reads `tensor`, `channel` or `group:N` with a positive `N`.
  public init?(_ name: some StringProtocol) {
    switch name {
    case "tensor": self = .tensor
    case "channel": self = .channel
    default:
      guard name.hasPrefix("group:"), let groupSize = Int(name.dropFirst(6)), groupSize > 0,
        name == "group:\(groupSize)"
      else { return nil }
      self = .group(groupSize)
    }
  }
}

extension QuantizationGranularity: CustomStringConvertible {
  /// The name that `init(_:)` reads.
  public var description: String {
    switch self {
    case .tensor: "tensor"
    case .channel: "channel"
    case .group(let groupSize): "group:\(groupSize)"
    }
  }
}

/// How lower bounds and scales are stored.
public enum QuantizationParameterType: String, Hashable, Sendable, CaseIterable {
  case float32
  case float16

  /// Bytes of one stored parameter.
  package var byteWidth: Int {
    switch self {
    case .float32: 4
    case .float16: 2
    }
  }

  /// The parameter as it is read back: rounded to nearest, ties to even.
  ///
  /// Past the type's largest number the result is infinite, and a small scale may become zero;
  /// `QuantizedTensor` refuses both.
  public func rounded(_ parameter: Float) -> Float {
    switch self {
    case .float32: parameter
    case .float16: Float(Float16(parameter))
    }
  }
}

/// The affine code of one cell: `w = lower + scale · code` with codes `0…maximumCode`.
///
/// Every operation is one in Float32, rounded to nearest; nothing is fused, so that NumPy's float32
/// arithmetic gives the same bits.
public struct AffineCode: Hashable, Sendable {
  /// What code 0 stands for.
  public let lower: Float
  /// Not negative; zero makes every code 0 and every value `lower`.
  public let scale: Float
  /// `2^bitWidth − 1`.
  public let maximumCode: Float

  /// The code of a cell that begins at `lower`, in steps of `scale`.
  ///
  /// - Parameter bitWidth: 1 to 8.
  public init(lower: Float, scale: Float, bitWidth: Int) {
    precondition((1...8).contains(bitWidth), "a code has 1 to 8 bits")
    self.lower = lower
    self.scale = scale
    self.maximumCode = Float(1 << bitWidth - 1)
  }

  /// The value of the largest code.
  public var upper: Float { decode(maximumCode) }

  /// `clip(rint((value − lower) / scale), 0, maximumCode)`, ties to even.
  ///
  /// - Parameter value: finite.
  @inline(__always)
  public func encode(_ value: Float) -> Float {
    guard scale > 0 else { return 0 }
    return Self.rint(Swift.min(Swift.max((value - lower) / scale, 0), maximumCode))
  }

  /// `lower + scale · code`.
  @inline(__always)
  public func decode(_ code: Float) -> Float {
    lower + scale * code
  }

  /// The nearest whole number of `0 ≤ value ≤ 255`, ties to even.
  ///
  /// At 1.5·2²³ a Float's last bit is one, so the addition itself rounds, which vectorizes on every
  /// processor; clipping before rounding gives the same as after, because both limits are whole.
  @inline(__always)
  private static func rint(_ value: Float) -> Float {
    (value + 12_582_912) - 12_582_912
  }

  /// Writes the codes of a run of finite values.
  package func encode(
    _ values: UnsafeBufferPointer<Float>, into codes: UnsafeMutableBufferPointer<UInt8>
  ) {
    precondition(values.count == codes.count, "one code a value")
    for index in 0..<values.count {
      codes[index] = UInt8(truncatingIfNeeded: Int32(encode(values[index])))
    }
  }

  /// Writes the values of a run of codes.
  package func decode(
    _ codes: UnsafeBufferPointer<UInt8>, into values: UnsafeMutableBufferPointer<Float>
  ) {
    precondition(values.count == codes.count, "one value a code")
    for index in 0..<codes.count {
      values[index] = decode(Float(codes[index]))
    }
  }
}
