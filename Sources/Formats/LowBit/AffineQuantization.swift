/// The set of elements that share one lower bound and one scale.
///
/// ```swift
/// for granularity in [QuantizationGranularity.tensor, .channel, .group(32)] {
///   let layout = try AffineLayout(rows: 180, columns: 60, granularity: granularity)
///   print(granularity, layout.cellCount)
/// }
/// // tensor 1, channel 180, group:32 360
/// ```
public enum QuantizationGranularity: Hashable, Sendable {
  /// The whole tensor, or each of its equal parts along the rows.
  case tensor
  /// One output channel: a row.
  case channel
  /// The given number of adjacent elements of a row; the last group of a row may be shorter.
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

/// The type in which lower bounds and scales are stored.
///
/// ```swift
/// let layout = try AffineLayout(rows: 384, columns: 384, granularity: .group(64))
/// for type in QuantizationParameterType.allCases {
///   let spec = AffineSpec(layout: layout, bitWidth: 2, parameterType: type)
///   print(type, 8 * Float(spec.byteCount ?? 0) / Float(layout.elementCount))
/// }
/// // float32 3.0, float16 2.5, scaled6 2.2291667
/// ```
public enum QuantizationParameterType: String, Hashable, Sendable, CaseIterable {
  case float32
  case float16
  /// Two codes of six bits per group, under a bfloat16 unit per row: 12 bits per group instead of
  /// 32 or 64. Only groups can have it.
  case scaled6

  /// Whether cells of this granularity can have such parameters.
  public func suits(_ granularity: QuantizationGranularity) -> Bool {
    guard self == .scaled6 else { return true }
    if case .group = granularity { return true }
    return false
  }

  /// Returns the parameter as it is read back: rounded to nearest, ties to even.
  ///
  /// The result is infinite beyond the type's largest number, and a small scale may become zero;
  /// `QuantizedTensor` rejects both. With `scaled6` it depends on the other groups of the row; the
  /// result is the parameter itself.
  public func rounded(_ parameter: Float) -> Float {
    switch self {
    case .float32, .scaled6: parameter
    case .float16: Float(Float16(parameter))
    }
  }
}

/// The affine code of one cell: `w = lower + scale · code` with codes `0…maximumCode`.
///
/// Every operation is in Float32, rounded to nearest; none are fused, so NumPy's float32 arithmetic
/// gives the same bits.
package struct AffineCode: Hashable, Sendable {
  /// The value of code 0.
  package let lower: Float
  /// The distance between values, not negative; zero makes every code 0 and every value `lower`.
  package let scale: Float
  /// `2^bitWidth − 1`.
  package let maximumCode: Float

  /// Creates the code of a cell that begins at `lower`, in steps of `scale`.
  ///
  /// - Parameter bitWidth: 1 to 8.
  package init(lower: Float, scale: Float, bitWidth: Int) {
    precondition((1...8).contains(bitWidth), "a code has 1 to 8 bits")
    self.lower = lower
    self.scale = scale
    self.maximumCode = Float(1 << bitWidth - 1)
  }

  /// The value of the largest code.
  package var upper: Float { decode(maximumCode) }

  /// Returns `clip(rint((value − lower) / scale), 0, maximumCode)`, ties to even.
  ///
  /// - Parameter value: a finite value.
  @inline(__always)
  package func encode(_ value: Float) -> Float {
    guard scale > 0 else { return 0 }
    return Self.rint(Swift.min(Swift.max((value - lower) / scale, 0), maximumCode))
  }

  /// Returns `lower + scale · code`.
  @inline(__always)
  package func decode(_ code: Float) -> Float {
    lower + scale * code
  }

  /// Returns the integer nearest to `0 ≤ value ≤ 255`, ties to even.
  ///
  /// At 1.5·2²³ the last bit of a Float is worth one, so the addition itself rounds, which
  /// vectorizes on every processor. Clipping before rounding equals clipping afterwards, because
  /// both limits are integers.
  @inline(__always)
  private static func rint(_ value: Float) -> Float {
    (value + 12_582_912) - 12_582_912
  }

  /// Writes the values of a run of codes.
  package func decode(
    _ codes: UnsafeBufferPointer<UInt8>, into values: UnsafeMutableBufferPointer<Float>
  ) {
    precondition(values.count == codes.count, "one value per code")
    for index in 0..<codes.count {
      values[index] = decode(Float(codes[index]))
    }
  }
}

extension AffineCode {
  /// Returns `Σ (x − Q(x))²` over `values`, where `Q` encodes and decodes.
  ///
  /// Differences are Float32, their squares and sums Double. The order of the sum is fixed: eight
  /// partial sums over the elements of equal index modulo 8, then `(0+4)+(2+6)` plus
  /// `(1+5)+(3+7)`. The result is not finite if the quantizer's values are not.
  package func squaredError(of values: UnsafeBufferPointer<Float>) -> Double {
    typealias Lanes = SIMD8<Float>
    let lower = Lanes(repeating: lower)
    let scale = Lanes(repeating: self.scale)
    let divisor = Lanes(repeating: divisor)
    let maximumCode = Lanes(repeating: maximumCode)
    let rounding = Lanes(repeating: Self.rounding)
    var low = SIMD4<Double>()
    var high = SIMD4<Double>()

    @inline(__always) func add(_ value: Lanes) {
      var clipped = (value - lower) / divisor
      // Masks, because the standard library's pointwise minimum is a call.
      clipped.replace(with: Lanes(), where: clipped .< Lanes())
      clipped.replace(with: maximumCode, where: clipped .> maximumCode)
      let difference = value - (lower + scale * ((clipped + rounding) - rounding))
      let lowDifference = SIMD4<Double>(difference.lowHalf)
      let highDifference = SIMD4<Double>(difference.highHalf)
      low += lowDifference * lowDifference
      high += highDifference * highDifference
    }

    let bytes = UnsafeRawBufferPointer(values)
    let wholeCount = values.count & ~7
    for index in stride(from: 0, to: wholeCount, by: 8) {
      add(bytes.loadUnaligned(fromByteOffset: 4 * index, as: Lanes.self))
    }
    if wholeCount < values.count {
      // Padding with a value that the quantizer reproduces adds zero.
      var rest = lower
      for index in wholeCount..<values.count { rest[index - wholeCount] = values[index] }
      add(rest)
    }
    let sums = low + high
    return (sums[0] + sums[2]) + (sums[1] + sums[3])
  }

  /// The scale, or infinity if it is zero: dividing by infinity makes every code 0 without a
  /// branch.
  private var divisor: Float { scale > 0 ? scale : .infinity }

  /// 1.5·2²³: adding it rounds `0…255` to an integer, ties to even.
  private static var rounding: Float { 12_582_912 }
}
