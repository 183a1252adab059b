/// Writes codes with given lower bounds and scales as GGUF's blocks; `GGUF.md` has their layout.
struct GGUFBlockEncoder {
  private let type: GGUFTensorType.Written
  /// Of the block before, whose parameters are mostly the same.
  private var factors: (scale: HalfFactors, minimum: HalfFactors)?

  init(_ type: GGUFTensorType.Written) {
    self.type = type
  }

  /// - Parameters:
  ///   - codes: of one block.
  ///   - lower: the lower bounds of its parts, each of `type.sharedLength` elements.
  ///   - scale: the scales of its parts.
  /// - Throws: `FormatError` when parameters pass the largest float16, or a scale becomes zero in it.
  mutating func encode(
    _ codes: ArraySlice<UInt8>, lower: [Float], scale: [Float],
    into output: UnsafeMutableRawBufferPointer
  ) throws {
    let first = codes.startIndex
    switch type {
    case .tq2:
      Self.store(try Self.halfScale(scale[0]), at: 64, output)
      Self.storeTwoBitCodes(codes, at: 0, output)
    case .q4:
      Self.store(try Self.halfScale(scale[0]), at: 0, output)
      Self.storeNibbles(codes, at: 2, output)
    case .q4m, .q5m:
      Self.store(try Self.halfScale(scale[0]), at: 0, output)
      Self.store(try Self.half(lower[0]), at: 2, output)
      if type == .q5m {
        for index in 0..<32 {
          output[4 + index / 8] |= (codes[first + index] >> 4) << UInt8(index % 8)
        }
      }
      Self.storeNibbles(codes, at: type == .q5m ? 8 : 4, output)
    case .q2k:
      let minima = lower.map { -$0 }
      let scales = try HalfFactors(scale, reusing: factors?.scale)
      if scales.unit == 0, let lost = scale.max(), lost > 0 { throw Self.underflow(lost) }
      let minimum = try HalfFactors(minima, reusing: factors?.minimum)
      factors = (scales, minimum)
      for part in 0..<16 { output[part] = scales.factors[part] | minimum.factors[part] << 4 }
      Self.storeTwoBitCodes(codes, at: 16, output)
      Self.store(scales.unit, at: 80, output)
      Self.store(minimum.unit, at: 82, output)
    }
  }

  private static func half(_ value: Float) throws -> Float16 {
    let half = Float16(value)
    guard half.isFinite else { throw HalfFactors.overflow(value) }
    return half
  }

  private static func halfScale(_ scale: Float) throws -> Float16 {
    let half = try half(scale)
    guard half > 0 || scale == 0 else { throw underflow(scale) }
    return half
  }

  private static func underflow(_ scale: Float) -> FormatError {
    .unsupported("the scale \(scale) is less than the smallest float16")
  }

  private static func store(
    _ value: Float16, at offset: Int, _ output: UnsafeMutableRawBufferPointer
  ) {
    output.storeBytes(of: value.bitPattern.littleEndian, toByteOffset: offset, as: UInt16.self)
  }

  private static func storeNibbles(
    _ codes: ArraySlice<UInt8>, at offset: Int, _ output: UnsafeMutableRawBufferPointer
  ) {
    for index in 0..<16 {
      let low = codes[codes.startIndex + index] & 15
      output[offset + index] = low | codes[codes.startIndex + 16 + index] << 4
    }
  }

  private static func storeTwoBitCodes(
    _ codes: ArraySlice<UInt8>, at offset: Int, _ output: UnsafeMutableRawBufferPointer
  ) {
    for index in 0..<256 {
      let byte = offset + index / 128 * 32 + index % 32
      output[byte] |= codes[codes.startIndex + index] << UInt8(index % 128 / 32 * 2)
    }
  }
}

/// Numbers as multiples of one float16 with factors of 0 to 15, as Q2_K holds scales and minima.
struct HalfFactors {
  let unit: Float16
  let factors: [UInt8]
  private let values: [Float]

  /// The closest multiples for units `float16(v / k)`, where `v` is the value of the largest
  /// magnitude and k = 1…15: those of the least largest error, and the first of these.
  ///
  /// Values of the other sign than `v` become 0.
  ///
  /// - Parameter previous: taken when it is of the same values.
  /// - Throws: `FormatError` when the values pass 15 times the largest float16.
  init(_ values: [Float], reusing previous: HalfFactors? = nil) throws {
    if let previous, previous.values == values {
      self = previous
      return
    }
    let largest = values.max { abs($0) < abs($1) } ?? 0
    var best: (unit: Float16, factors: [UInt8], error: Float)?
    for divisor in 1...15 {
      let unit = Float16(largest / Float(divisor))
      guard unit.isFinite else { continue }
      let step = Float(unit)
      let factors = values.map { value -> UInt8 in
        guard step != 0 else { return 0 }
        return UInt8(min(max((value / step).rounded(.toNearestOrEven), 0), 15))
      }
      let error = zip(values, factors).reduce(0) { max($0, abs($1.0 - step * Float($1.1))) }
      if best.map({ error < $0.error }) ?? true { best = (unit, factors, error) }
    }
    guard let best else { throw Self.overflow(largest) }
    (unit, factors) = (best.unit, best.factors)
    self.values = values
  }

  static func overflow(_ value: Float) -> FormatError {
    .unsupported("the parameter \(value) passes the largest float16")
  }
}
