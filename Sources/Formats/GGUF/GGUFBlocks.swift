import Storage

/// A kind of quantized block, with its layout and decoding.
///
/// Values are computed in Float32, with every product rounded before a difference is taken. For
/// finite scales they equal those of `gguf.quants.dequantize` of the `gguf` package bit for bit.
/// The layouts are ggml's (`ggml-common.h`); `GGUF.md` describes them.
enum GGUFBlocks: Hashable, Sendable {
  case q8, q4, q4m, q5m, q2, q4k, q2k, tq2

  var byteCount: Int {
    switch self {
    case .q8: 34
    case .q4: 18
    case .q4m: 20
    case .q5m: 24
    case .q2: 18
    case .q4k: 144
    case .q2k: 84
    case .tq2: 66
    }
  }

  var elementCount: Int {
    switch self {
    case .q8, .q4, .q4m, .q5m: 32
    case .q2: 64
    case .q4k, .q2k, .tq2: 256
    }
  }

  /// Returns the values of whole blocks, as `float32` elements in the order of the blocks.
  ///
  /// - Precondition: `stored` consists of whole blocks.
  func dequantize(_ stored: SharedBytes) -> SharedBytes {
    precondition(stored.count.isMultiple(of: byteCount), "half a block")
    let blockCount = stored.count / byteCount
    return SharedBytes(count: blockCount * elementCount * 4) { output in
      let values = output.bindMemory(to: Float.self)
      stored.withUnsafeBytes { input in
        for index in 0..<blockCount {
          let block = UnsafeRawBufferPointer(
            rebasing: input[index * byteCount..<(index + 1) * byteCount])
          let target = UnsafeMutableBufferPointer(
            rebasing: values[index * elementCount..<(index + 1) * elementCount])
          switch self {
          case .q8: Self.dequantizeQ8(block, into: target)
          case .q4: Self.dequantizeQ4(block, into: target)
          case .q4m: Self.dequantizeQ4M(block, into: target)
          case .q5m: Self.dequantizeQ5M(block, into: target)
          case .q2: Self.dequantizeQ2(block, into: target)
          case .q4k: Self.dequantizeQ4K(block, into: target)
          case .q2k: Self.dequantizeQ2K(block, into: target)
          case .tq2: Self.dequantizeTQ2(block, into: target)
          }
        }
      }
    }
  }

  private typealias Block = UnsafeRawBufferPointer
  private typealias Values = UnsafeMutableBufferPointer<Float>

  private static func half(_ block: Block, at offset: Int) -> Float {
    Float(Float16(bitPattern: UInt16(block[offset]) | UInt16(block[offset + 1]) << 8))
  }

  /// Decodes Q8_0: a scale, then 32 signed bytes.
  private static func dequantizeQ8(_ block: Block, into values: Values) {
    let scale = half(block, at: 0)
    for index in 0..<32 { values[index] = Float(Int8(bitPattern: block[2 + index])) * scale }
  }

  /// Decodes Q4_0: a scale, then 16 bytes whose low nibbles are the first 16 codes, the high ones
  /// the last.
  private static func dequantizeQ4(_ block: Block, into values: Values) {
    let scale = half(block, at: 0)
    for index in 0..<16 {
      let byte = Int(block[2 + index])
      values[index] = scale * Float((byte & 15) - 8)
      values[16 + index] = scale * Float((byte >> 4) - 8)
    }
  }

  /// Decodes Q4_1: scale and minimum, then nibbles as in Q4_0.
  private static func dequantizeQ4M(_ block: Block, into values: Values) {
    let (scale, minimum) = (half(block, at: 0), half(block, at: 2))
    for index in 0..<16 {
      let byte = block[4 + index]
      values[index] = scale * Float(byte & 15) + minimum
      values[16 + index] = scale * Float(byte >> 4) + minimum
    }
  }

  /// Decodes Q5_1: scale and minimum, 32 fifth bits, then nibbles as in Q4_0.
  private static func dequantizeQ5M(_ block: Block, into values: Values) {
    let (scale, minimum) = (half(block, at: 0), half(block, at: 2))
    for index in 0..<32 {
      let nibble = index < 16 ? block[8 + index] & 15 : block[8 + index - 16] >> 4
      let fifth = block[4 + index / 8] >> UInt8(index % 8) & 1
      values[index] = scale * Float(nibble | fifth << 4) + minimum
    }
  }

  /// Decodes Q2_0: a scale, then 16 bytes of 2-bit codes for −1 to 2, the first in the lowest bits.
  private static func dequantizeQ2(_ block: Block, into values: Values) {
    let scale = half(block, at: 0)
    for index in 0..<64 {
      let code = block[2 + index / 4] >> UInt8(index % 4 * 2) & 3
      values[index] = Float(Int(code) - 1) * scale
    }
  }

  /// Decodes Q4_K: scale and minimum, 8 pairs of 6-bit factors in 12 bytes, then 4 planes of 64
  /// nibbles.
  private static func dequantizeQ4K(_ block: Block, into values: Values) {
    let (scale, minimum) = (half(block, at: 0), half(block, at: 2))
    for part in 0..<8 {
      let (first, second, high) = (block[4 + part % 4], block[8 + part % 4], block[12 + part % 4])
      let isLow = part < 4
      let scaleFactor = isLow ? first & 63 : high & 15 | first >> 2 & 48
      let minimumFactor = isLow ? second & 63 : high >> 4 | second >> 2 & 48
      let partScale = scale * Float(scaleFactor)
      let partMinimum = minimum * Float(minimumFactor)
      let start = 16 + part / 2 * 32
      for index in 0..<32 {
        let byte = block[start + index]
        let code = part.isMultiple(of: 2) ? byte & 15 : byte >> 4
        values[part * 32 + index] = partScale * Float(code) - partMinimum
      }
    }
  }

  /// Decodes Q2_K: 16 pairs of 4-bit factors, 64 bytes of 2-bit codes, then scale and minimum.
  private static func dequantizeQ2K(_ block: Block, into values: Values) {
    let (scale, minimum) = (half(block, at: 80), half(block, at: 82))
    for part in 0..<16 {
      let partScale = scale * Float(block[part] & 15)
      let partMinimum = minimum * Float(block[part] >> 4)
      for index in part * 16..<(part + 1) * 16 {
        values[index] = partScale * Float(twoBitCode(block, at: 16, index)) - partMinimum
      }
    }
  }

  /// Decodes TQ2_0: 64 bytes of 2-bit codes for −1, 0 and 1, then a scale.
  private static func dequantizeTQ2(_ block: Block, into values: Values) {
    let scale = half(block, at: 64)
    for index in 0..<256 {
      values[index] = scale * Float(Int(twoBitCode(block, at: 0, index)) - 1)
    }
  }

  /// Returns code `index` of 256: 32 bytes hold four planes of 32 codes, the first in the lowest
  /// bits.
  private static func twoBitCode(_ block: Block, at start: Int, _ index: Int) -> UInt8 {
    block[start + index / 128 * 32 + index % 32] >> UInt8(index % 128 / 32 * 2) & 3
  }
}

/// Encodes codes with given lower bounds and scales as GGUF blocks; `GGUF.md` describes their
/// layout.
struct GGUFBlockEncoder {
  private let type: GGUFTensorType.Written
  /// The factors of the previous block, whose parameters are usually the same.
  private var factors: (scale: HalfFactors, minimum: HalfFactors)?

  init(_ type: GGUFTensorType.Written) {
    self.type = type
  }

  /// Encodes one block.
  ///
  /// - Parameters:
  ///   - codes: the codes of the block.
  ///   - lower: the lower bounds of its parts, each of `type.sharedLength` elements.
  ///   - scale: the scales of its parts.
  /// - Throws: `ModelError` when parameters exceed the largest float16, or a scale rounds to zero
  ///   in it.
  /// - Postcondition: codes are those given, but for Q8_0 whose values are not multiples of one
  ///   float16: each is then at most half the stored scale from its value.
  mutating func encode(
    _ codes: ArraySlice<UInt8>, lower: [Float], scale: [Float],
    into output: UnsafeMutableRawBufferPointer
  ) throws {
    let first = codes.startIndex
    switch type {
    case .tq2:
      Self.store(try Self.halfScale(scale[0]), at: 64, output)
      Self.storeTwoBitCodes(codes, at: 0, output)
    case .q2:
      Self.store(try Self.halfScale(scale[0]), at: 0, output)
      for index in 0..<64 {
        output[2 + index / 4] |= codes[first + index] << UInt8(index % 4 * 2)
      }
    case .q8:
      let (step, numbers) = try Self.signedBytes(codes, lower, scale)
      Self.store(step, at: 0, output)
      for (index, number) in numbers.enumerated() {
        output[2 + index] = UInt8(bitPattern: number)
      }
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

  /// Returns the scale and the multiples of it that are closest to the values of a block.
  ///
  /// They are equal to the values if all scales are one float16, lower bounds are multiples of it,
  /// and the multiples fit Int8. Otherwise the largest value becomes ±127 times the scale, as in
  /// ggml's `quantize_row_q8_0_ref`.
  private static func signedBytes(
    _ codes: ArraySlice<UInt8>, _ lower: [Float], _ scale: [Float]
  ) throws -> (scale: Float16, numbers: [Int8]) {
    let values = zip(codes, zip(lower, scale)).map { $1.1 * Float($0) + $1.0 }
    let common = Float16(scale[0])
    if common > 0, scale.allSatisfy({ $0 == Float(common) }) {
      let numbers = values.compactMap { Int8(exactly: $0 / Float(common)) }
      if zip(numbers, values).allSatisfy({ Float($0) * Float(common) == $1 }),
        numbers.count == values.count
      {
        return (common, numbers)
      }
    }
    let largest = values.map(abs).max() ?? 0
    var step = try halfScale(largest / 127)
    if largest / Float(step) >= 127.5 { step = step.nextUp }
    let numbers = values.map { value -> Int8 in
      step == 0 ? 0 : Int8((value / Float(step)).rounded(.toNearestOrEven))
    }
    return (step, numbers)
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

  private static func underflow(_ scale: Float) -> ModelError {
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

  /// Finds the closest multiples for the units `float16(v / k)`, where `v` is the value of the
  /// largest magnitude and k = 1…15. The unit with the least maximum error is chosen, the first one
  /// if several are equal.
  ///
  /// Values whose sign differs from that of `v` become 0.
  ///
  /// - Parameter previous: reused if it was made from the same values.
  /// - Throws: `ModelError` when the values exceed 15 times the largest float16.
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

  static func overflow(_ value: Float) -> ModelError {
    .unsupported("the parameter \(value) exceeds the largest float16")
  }
}
