import Storage

/// A kind of quantized block, with its layout and decoding.
///
/// Values are computed in Float32, with every product rounded before a sum or difference is taken.
/// For finite scales they equal those of `gguf.quants.dequantize` of the `gguf` package bit for bit,
/// and of ggml itself for the types that the package lacks. The layouts are ggml's
/// (`ggml-common.h`); `GGUF.md` describes them.
enum GGUFBlocks: Hashable, Sendable, CaseIterable {
  case q1, q2, q4, q4m, q5, q5m, q8
  case q2k, q3k, q4k, q5k, q6k
  case tq1, tq2
  case mxfp4, nvfp4
  case iq1s, iq1m, iq2xxs, iq2xs, iq2s, iq3xxs, iq3s, iq4nl, iq4xs

  /// ggml's name and `ggml_type`, and the length of one block.
  private var layout: (name: String, number: UInt32, elementCount: Int, byteCount: Int) {
    switch self {
    case .q1: ("Q1_0", 41, 128, 18)
    case .q2: ("Q2_0", 42, 64, 18)
    case .q4: ("Q4_0", 2, 32, 18)
    case .q4m: ("Q4_1", 3, 32, 20)
    case .q5: ("Q5_0", 6, 32, 22)
    case .q5m: ("Q5_1", 7, 32, 24)
    case .q8: ("Q8_0", 8, 32, 34)
    case .q2k: ("Q2_K", 10, 256, 84)
    case .q3k: ("Q3_K", 11, 256, 110)
    case .q4k: ("Q4_K", 12, 256, 144)
    case .q5k: ("Q5_K", 13, 256, 176)
    case .q6k: ("Q6_K", 14, 256, 210)
    case .tq1: ("TQ1_0", 34, 256, 54)
    case .tq2: ("TQ2_0", 35, 256, 66)
    case .mxfp4: ("MXFP4", 39, 32, 17)
    case .nvfp4: ("NVFP4", 40, 64, 36)
    case .iq1s: ("IQ1_S", 19, 256, 50)
    case .iq1m: ("IQ1_M", 29, 256, 56)
    case .iq2xxs: ("IQ2_XXS", 16, 256, 66)
    case .iq2xs: ("IQ2_XS", 17, 256, 74)
    case .iq2s: ("IQ2_S", 22, 256, 82)
    case .iq3xxs: ("IQ3_XXS", 18, 256, 98)
    case .iq3s: ("IQ3_S", 21, 256, 110)
    case .iq4nl: ("IQ4_NL", 20, 32, 18)
    case .iq4xs: ("IQ4_XS", 23, 256, 136)
    }
  }

  var name: String { layout.name }
  var number: UInt32 { layout.number }
  var elementCount: Int { layout.elementCount }
  var byteCount: Int { layout.byteCount }

  /// Returns the values of whole blocks, as `float32` elements in the order of the blocks.
  ///
  /// - Precondition: `stored` consists of whole blocks.
  func dequantize(_ stored: SharedBytes) -> SharedBytes {
    let (elementCount, byteCount) = (elementCount, byteCount)
    precondition(stored.count.isMultiple(of: byteCount), "half a block")
    let decode = decoder
    let blockCount = stored.count / byteCount
    return SharedBytes(count: blockCount * elementCount * 4) { output in
      let values = output.bindMemory(to: Float.self)
      stored.withUnsafeBytes { input in
        for index in 0..<blockCount {
          let block = UnsafeRawBufferPointer(
            rebasing: input[index * byteCount..<(index + 1) * byteCount])
          let target = UnsafeMutableBufferPointer(
            rebasing: values[index * elementCount..<(index + 1) * elementCount])
          decode(block, target)
        }
      }
    }
  }

  private typealias Block = UnsafeRawBufferPointer
  private typealias Values = UnsafeMutableBufferPointer<Float>

  private var decoder: (Block, Values) -> Void {
    switch self {
    case .q1: Self.dequantizeQ1
    case .q2: Self.dequantizeQ2
    case .q4: Self.dequantizeQ4
    case .q4m: Self.dequantizeQ4M
    case .q5: Self.dequantizeQ5
    case .q5m: Self.dequantizeQ5M
    case .q8: Self.dequantizeQ8
    case .q2k: Self.dequantizeQ2K
    case .q3k: Self.dequantizeQ3K
    case .q4k: Self.dequantizeQ4K
    case .q5k: Self.dequantizeQ5K
    case .q6k: Self.dequantizeQ6K
    case .tq1: Self.dequantizeTQ1
    case .tq2: Self.dequantizeTQ2
    case .mxfp4: Self.dequantizeMXFP4
    case .nvfp4: Self.dequantizeNVFP4
    case .iq1s: Self.dequantizeIQ1S
    case .iq1m: Self.dequantizeIQ1M
    case .iq2xxs: Self.dequantizeIQ2XXS
    case .iq2xs: Self.dequantizeIQ2XS
    case .iq2s: Self.dequantizeIQ2S
    case .iq3xxs: Self.dequantizeIQ3XXS
    case .iq3s: Self.dequantizeIQ3S
    case .iq4nl: Self.dequantizeIQ4NL
    case .iq4xs: Self.dequantizeIQ4XS
    }
  }

  // MARK: Fields of blocks

  private static func half(_ block: Block, at offset: Int) -> Float {
    Float(Float16(bitPattern: UInt16(block.loadUnsigned(at: offset, byteWidth: 2))))
  }

  private static func word(_ block: Block, at offset: Int) -> Int {
    Int(block.loadUnsigned(at: offset, byteWidth: 4))
  }

  /// Returns 4-bit code `index` of bytes that each hold two consecutive ones, the first in the low
  /// bits.
  @inline(__always)
  private static func nibble(_ block: Block, at start: Int, _ index: Int) -> Int {
    Int(block[start + index / 2] >> UInt8(index % 2 * 4) & 15)
  }

  /// Returns 4-bit code `index` of 2 · `count`: `count` bytes hold the first codes in their low
  /// bits and the others in their high ones.
  @inline(__always)
  private static func splitNibble(
    _ block: Block, at start: Int, _ index: Int, count: Int
  ) -> Int {
    Int(index < count ? block[start + index] & 15 : block[start + index - count] >> 4)
  }

  @inline(__always)
  private static func bit(_ block: Block, at start: Int, _ index: Int) -> Int {
    Int(block[start + index / 8] >> UInt8(index % 8) & 1)
  }

  /// Returns code `index` of 256: 32 bytes hold four planes of 32 codes, the first in the lowest
  /// bits.
  @inline(__always)
  private static func twoBitCode(_ block: Block, at start: Int, _ index: Int) -> Int {
    Int(block[start + index / 128 * 32 + index % 32] >> UInt8(index % 128 / 32 * 2) & 3)
  }

  /// Returns the factors of scale and minimum of part `part` of 8: 6 bits each in 12 bytes.
  private static func sixBitFactors(_ block: Block, _ part: Int) -> (scale: UInt8, minimum: UInt8) {
    let (first, second, high) = (block[4 + part % 4], block[8 + part % 4], block[12 + part % 4])
    return part < 4
      ? (first & 63, second & 63) : (high & 15 | first >> 2 & 48, high >> 4 | second >> 2 & 48)
  }

  // MARK: One scale per block

  /// Decodes Q1_0: a scale, then 128 bits; 0 is minus the scale.
  private static func dequantizeQ1(_ block: Block, into values: Values) {
    let scale = half(block, at: 0)
    for index in 0..<128 { values[index] = bit(block, at: 2, index) == 1 ? scale : -scale }
  }

  /// Decodes Q2_0: a scale, then 16 bytes of 2-bit codes for −1 to 2, the first in the lowest bits.
  private static func dequantizeQ2(_ block: Block, into values: Values) {
    let scale = half(block, at: 0)
    for index in 0..<64 {
      let code = block[2 + index / 4] >> UInt8(index % 4 * 2) & 3
      values[index] = Float(Int(code) - 1) * scale
    }
  }

  /// Decodes Q4_0: a scale, then 16 bytes whose low nibbles are the first 16 codes, the high ones
  /// the last.
  private static func dequantizeQ4(_ block: Block, into values: Values) {
    let scale = half(block, at: 0)
    for index in 0..<32 {
      values[index] = scale * Float(splitNibble(block, at: 2, index, count: 16) - 8)
    }
  }

  /// Decodes Q4_1: scale and minimum, then nibbles as in Q4_0.
  private static func dequantizeQ4M(_ block: Block, into values: Values) {
    let (scale, minimum) = (half(block, at: 0), half(block, at: 2))
    for index in 0..<32 {
      values[index] = scale * Float(splitNibble(block, at: 4, index, count: 16)) + minimum
    }
  }

  /// Decodes Q5_0: a scale, 32 fifth bits, then nibbles as in Q4_0.
  private static func dequantizeQ5(_ block: Block, into values: Values) {
    let scale = half(block, at: 0)
    for index in 0..<32 {
      let code = splitNibble(block, at: 6, index, count: 16) | bit(block, at: 2, index) << 4
      values[index] = scale * Float(code - 16)
    }
  }

  /// Decodes Q5_1: scale and minimum, 32 fifth bits, then nibbles as in Q4_0.
  private static func dequantizeQ5M(_ block: Block, into values: Values) {
    let (scale, minimum) = (half(block, at: 0), half(block, at: 2))
    for index in 0..<32 {
      let code = splitNibble(block, at: 8, index, count: 16) | bit(block, at: 4, index) << 4
      values[index] = scale * Float(code) + minimum
    }
  }

  /// Decodes Q8_0: a scale, then 32 signed bytes.
  private static func dequantizeQ8(_ block: Block, into values: Values) {
    let scale = half(block, at: 0)
    for index in 0..<32 { values[index] = Float(Int8(bitPattern: block[2 + index])) * scale }
  }

  // MARK: Factors of a scale

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

  /// Decodes Q3_K: 32 bytes of third bits, 64 bytes of 2-bit codes, 16 factors of 6 bits, then the
  /// scale.
  private static func dequantizeQ3K(_ block: Block, into values: Values) {
    let scale = half(block, at: 108)
    for part in 0..<16 {
      let low = block[96 + part % 8] >> UInt8(part / 8 * 4) & 15
      let high = block[104 + part % 4] >> UInt8(part / 4 * 2) & 3
      let partScale = scale * Float(Int(low | high << 4) - 32)
      for index in part * 16..<(part + 1) * 16 {
        let third = Int(block[index % 32] >> UInt8(index / 32) & 1)
        let code = twoBitCode(block, at: 32, index) | third << 2
        values[index] = partScale * Float(code - 4)
      }
    }
  }

  /// Decodes Q4_K: scale and minimum, 8 pairs of 6-bit factors in 12 bytes, then 4 planes of 64
  /// nibbles.
  private static func dequantizeQ4K(_ block: Block, into values: Values) {
    let (scale, minimum) = (half(block, at: 0), half(block, at: 2))
    for part in 0..<8 {
      let factors = sixBitFactors(block, part)
      let partScale = scale * Float(factors.scale)
      let partMinimum = minimum * Float(factors.minimum)
      let (start, first) = (16 + part / 2 * 32, part % 2 * 32)
      for index in 0..<32 {
        let code = splitNibble(block, at: start, first + index, count: 32)
        values[part * 32 + index] = partScale * Float(code) - partMinimum
      }
    }
  }

  /// Decodes Q5_K: as Q4_K, with 32 bytes of fifth bits before the nibbles.
  private static func dequantizeQ5K(_ block: Block, into values: Values) {
    let (scale, minimum) = (half(block, at: 0), half(block, at: 2))
    for part in 0..<8 {
      let factors = sixBitFactors(block, part)
      let partScale = scale * Float(factors.scale)
      let partMinimum = minimum * Float(factors.minimum)
      let (start, first) = (48 + part / 2 * 32, part % 2 * 32)
      for index in 0..<32 {
        let fifth = Int(block[16 + index] >> UInt8(part) & 1)
        let code = splitNibble(block, at: start, first + index, count: 32) | fifth << 4
        values[part * 32 + index] = partScale * Float(code) - partMinimum
      }
    }
  }

  /// Decodes Q6_K: 128 bytes of nibbles, 64 bytes of the upper two bits, 16 signed factors, then the
  /// scale.
  private static func dequantizeQ6K(_ block: Block, into values: Values) {
    let scale = half(block, at: 208)
    for part in 0..<16 {
      let partScale = scale * Float(Int8(bitPattern: block[192 + part]))
      let start = part / 8 * 64
      for index in part * 16..<(part + 1) * 16 {
        let low = splitNibble(block, at: start, index % 128, count: 64)
        let code = low | twoBitCode(block, at: 128, index) << 4
        values[index] = partScale * Float(code - 32)
      }
    }
  }

  // MARK: Ternary

  /// Decodes TQ1_0: 48 bytes of five digits each, 4 bytes of four, then a scale.
  private static func dequantizeTQ1(_ block: Block, into values: Values) {
    let scale = half(block, at: 52)
    let powers: InlineArray<5, UInt8> = [1, 3, 9, 27, 81]
    func fill(_ range: Range<Int>, bytes: Range<Int>) {
      for index in range {
        let place = index - range.lowerBound
        let byte = block[bytes.lowerBound + place % bytes.count]
        // A byte is a fraction of 256 whose first ternary digit is the first code.
        let rest = UInt16(byte &* powers[place / bytes.count])
        values[index] = scale * Float(Int((rest * 3) >> 8) - 1)
      }
    }
    fill(0..<160, bytes: 0..<32)
    fill(160..<240, bytes: 32..<48)
    fill(240..<256, bytes: 48..<52)
  }

  /// Decodes TQ2_0: 64 bytes of 2-bit codes for −1, 0 and 1, then a scale.
  private static func dequantizeTQ2(_ block: Block, into values: Values) {
    let scale = half(block, at: 64)
    for index in 0..<256 {
      values[index] = scale * Float(twoBitCode(block, at: 0, index) - 1)
    }
  }

  // MARK: Small floating-point numbers

  /// Twice the values of the codes of E2M1; code 8 is zero as well.
  private static let doubledE2M1: [Float] = [
    0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12,
  ]

  /// Decodes MXFP4: an exponent, then 16 bytes of E2M1 codes in the order of Q4_0's.
  private static func dequantizeMXFP4(_ block: Block, into values: Values) {
    let exponent = UInt32(block[0])
    // Half of 2^(exponent − 127), which is subnormal for the smallest two.
    let scale = Float(
      bitPattern: exponent < 2 ? 0x0020_0000 << exponent : (exponent - 1) << 23)
    for index in 0..<32 {
      values[index] = scale * doubledE2M1[splitNibble(block, at: 1, index, count: 16)]
    }
  }

  /// Decodes NVFP4: four scales of E4M3 without their sign, then for each 8 bytes of E2M1 codes.
  private static func dequantizeNVFP4(_ block: Block, into values: Values) {
    for part in 0..<4 {
      let code = Int(block[part])
      // 127 would be NaN; ggml reads it as zero, and ignores the sign of all others.
      let scale =
        code == 127
        ? 0
        : code & 127 == 127 ? 240 : Float(NarrowFloat.e4m3.decode(code & 127)) * 0.5
      for index in 0..<16 {
        let place = splitNibble(block, at: 4 + part * 8, index, count: 8)
        values[part * 16 + index] = scale * doubledE2M1[place]
      }
    }
  }

  // MARK: Codebooks

  /// The levels of the codes of IQ4_NL and IQ4_XS.
  private static let nonlinearLevels: [Float] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
  ]

  /// Decodes IQ4_NL: a scale, then nibbles as in Q4_0 that number the levels.
  private static func dequantizeIQ4NL(_ block: Block, into values: Values) {
    let scale = half(block, at: 0)
    for index in 0..<32 {
      values[index] = scale * nonlinearLevels[splitNibble(block, at: 2, index, count: 16)]
    }
  }

  /// Decodes IQ4_XS: a scale, the upper 2 bits of 8 factors, their lower nibbles, then codes as in
  /// IQ4_NL.
  private static func dequantizeIQ4XS(_ block: Block, into values: Values) {
    let scale = half(block, at: 0)
    let upper = Int(block.loadUnsigned(at: 2, byteWidth: 2))
    for part in 0..<8 {
      let factor = nibble(block, at: 4, part) | (upper >> (2 * part) & 3) << 4
      let partScale = scale * Float(factor - 32)
      for index in 0..<32 {
        let code = splitNibble(block, at: 8 + part * 16, index, count: 16)
        values[part * 32 + index] = partScale * nonlinearLevels[code]
      }
    }
  }

  /// Returns the signs of eight elements of which seven bits are stored: an odd number of minus
  /// signs sets the last.
  @inline(__always)
  private static func evenSigns(_ bits: Int) -> Int {
    bits | (bits.nonzeroBitCount & 1) << 7
  }

  /// Stores the elements of an entry times a scale, with minus signs where `signs` has bits.
  @inline(__always)
  private static func store(
    _ entry: Int, of codebook: GGUFCodebook, times scale: Float, signs: Int, at start: Int,
    into values: Values
  ) {
    for element in 0..<codebook.length {
      let product = scale * codebook(entry, element)
      values[start + element] = signs >> element & 1 == 1 ? -product : product
    }
  }

  /// Decodes IQ2_XXS: a scale, then for each 32 elements four entries, their signs and a factor.
  private static func dequantizeIQ2XXS(_ block: Block, into values: Values) {
    let scale = half(block, at: 0)
    let codebook = GGUFCodebook.iq2xxs
    for part in 0..<8 {
      let bits = word(block, at: 2 + part * 8 + 4)
      let partScale = scale * (0.5 + Float(bits >> 28)) * 0.25
      for group in 0..<4 {
        store(
          Int(block[2 + part * 8 + group]), of: codebook, times: partScale,
          signs: evenSigns(bits >> (7 * group) & 127), at: part * 32 + group * 8, into: values)
      }
    }
  }

  /// Decodes IQ2_XS: a scale, 32 words of an entry and its signs, then 16 factors of 4 bits.
  private static func dequantizeIQ2XS(_ block: Block, into values: Values) {
    let scale = half(block, at: 0)
    let codebook = GGUFCodebook.iq2xs
    for group in 0..<32 {
      let bits = Int(block.loadUnsigned(at: 2 + group * 2, byteWidth: 2))
      let partScale = scale * (0.5 + Float(nibble(block, at: 66, group / 2))) * 0.25
      store(
        bits & 511, of: codebook, times: partScale, signs: evenSigns(bits >> 9), at: group * 8,
        into: values)
    }
  }

  /// Decodes IQ2_S: a scale, 32 entries, their signs, their upper 2 bits, then 16 factors of 4 bits.
  private static func dequantizeIQ2S(_ block: Block, into values: Values) {
    let scale = half(block, at: 0)
    let codebook = GGUFCodebook.iq2s
    for group in 0..<32 {
      let upper = Int(block[66 + group / 4]) >> (group % 4 * 2) & 3
      let partScale = scale * (0.5 + Float(nibble(block, at: 74, group / 2))) * 0.25
      store(
        Int(block[2 + group]) | upper << 8, of: codebook, times: partScale,
        signs: Int(block[34 + group]), at: group * 8, into: values)
    }
  }

  /// Decodes IQ3_XXS: a scale, 64 entries, then for each 32 elements their signs and a factor.
  private static func dequantizeIQ3XXS(_ block: Block, into values: Values) {
    let scale = half(block, at: 0)
    let codebook = GGUFCodebook.iq3xxs
    for group in 0..<64 {
      let bits = word(block, at: 66 + group / 8 * 4)
      let partScale = scale * (0.5 + Float(bits >> 28)) * 0.5
      let signs = evenSigns(bits >> (group % 8 / 2 * 7) & 127)
      store(
        Int(block[2 + group]), of: codebook, times: partScale, signs: signs >> (group % 2 * 4),
        at: group * 4, into: values)
    }
  }

  /// Decodes IQ3_S: a scale, 64 entries, their ninth bits, the signs, then 8 factors of 4 bits.
  private static func dequantizeIQ3S(_ block: Block, into values: Values) {
    let scale = half(block, at: 0)
    let codebook = GGUFCodebook.iq3s
    for group in 0..<64 {
      let partScale = scale * Float(1 + 2 * nibble(block, at: 106, group / 8))
      store(
        Int(block[2 + group]) | bit(block, at: 66, group) << 8, of: codebook, times: partScale,
        signs: Int(block[74 + group / 2]) >> (group % 2 * 4), at: group * 4, into: values)
    }
  }

  /// Stores the elements of an entry of IQ1, moved by an eighth up or down, times a scale.
  @inline(__always)
  private static func store(
    _ entry: Int, times scale: Float, isLowered: Bool, at start: Int, into values: Values
  ) {
    let codebook = GGUFCodebook.iq1
    for element in 0..<8 {
      values[start + element] = scale * (codebook(entry, element) + (isLowered ? -0.125 : 0.125))
    }
  }

  /// Decodes IQ1_S: a scale, 32 entries, then for each 32 elements their upper 3 bits, a factor and
  /// the direction of the shift.
  private static func dequantizeIQ1S(_ block: Block, into values: Values) {
    let scale = half(block, at: 0)
    for group in 0..<32 {
      let bits = Int(block.loadUnsigned(at: 34 + group / 4 * 2, byteWidth: 2))
      let upper = bits >> (group % 4 * 3) & 7
      store(
        Int(block[2 + group]) | upper << 8, times: scale * Float(2 * (bits >> 12 & 7) + 1),
        isLowered: bits >> 15 == 1, at: group * 8, into: values)
    }
  }

  /// Decodes IQ1_M: 32 entries, their upper 3 bits and the direction of the shift, then four words of
  /// four 3-bit factors whose upper nibbles make the scale.
  private static func dequantizeIQ1M(_ block: Block, into values: Values) {
    let words = (0..<4).map { UInt16(block.loadUnsigned(at: 48 + $0 * 2, byteWidth: 2)) }
    let bits = words.enumerated().reduce(UInt16(0)) { $0 | ($1.element >> 12) << ($1.offset * 4) }
    let scale = Float(Float16(bitPattern: bits))
    for group in 0..<32 {
      let factor = words[group / 8] >> (group % 8 / 2 * 3) & 7
      let upper = nibble(block, at: 32, group)
      store(
        Int(block[group]) | (upper & 7) << 8, times: scale * Float(2 * factor + 1),
        isLowered: upper >> 3 == 1, at: group * 8, into: values)
    }
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
