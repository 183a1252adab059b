/// A kind of quantized block and what its codes stand for.
///
/// Values are computed in Float32 with every product rounded before a difference is taken, and are
/// bit for bit those of `gguf.quants.dequantize` of the `gguf` package for finite scales. The layouts
/// are ggml's (`ggml-common.h`); `GGUF.md` writes them down.
enum GGUFBlocks: Hashable, Sendable {
  case q8, q4, q4m, q5m, q4k, q2k, tq2

  var byteCount: Int {
    switch self {
    case .q8: 34
    case .q4: 18
    case .q4m: 20
    case .q5m: 24
    case .q4k: 144
    case .q2k: 84
    case .tq2: 66
    }
  }

  var elementCount: Int {
    switch self {
    case .q8, .q4, .q4m, .q5m: 32
    case .q4k, .q2k, .tq2: 256
    }
  }

  /// The values of whole blocks, as `float32` elements in the order of the blocks.
  ///
  /// - Precondition: `stored` is whole blocks.
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

  /// A scale, then 32 signed bytes.
  private static func dequantizeQ8(_ block: Block, into values: Values) {
    let scale = half(block, at: 0)
    for index in 0..<32 { values[index] = Float(Int8(bitPattern: block[2 + index])) * scale }
  }

  /// A scale, then 16 bytes: the low nibbles are the first 16 codes, the high ones the last.
  private static func dequantizeQ4(_ block: Block, into values: Values) {
    let scale = half(block, at: 0)
    for index in 0..<16 {
      let byte = Int(block[2 + index])
      values[index] = scale * Float((byte & 15) - 8)
      values[16 + index] = scale * Float((byte >> 4) - 8)
    }
  }

  /// Q4_1: scale and least value, then nibbles as in Q4_0.
  private static func dequantizeQ4M(_ block: Block, into values: Values) {
    let (scale, minimum) = (half(block, at: 0), half(block, at: 2))
    for index in 0..<16 {
      let byte = block[4 + index]
      values[index] = scale * Float(byte & 15) + minimum
      values[16 + index] = scale * Float(byte >> 4) + minimum
    }
  }

  /// Q5_1: scale and least value, 32 fifth bits, then nibbles as in Q4_0.
  private static func dequantizeQ5M(_ block: Block, into values: Values) {
    let (scale, minimum) = (half(block, at: 0), half(block, at: 2))
    for index in 0..<32 {
      let nibble = index < 16 ? block[8 + index] & 15 : block[8 + index - 16] >> 4
      let fifth = block[4 + index / 8] >> UInt8(index % 8) & 1
      values[index] = scale * Float(nibble | fifth << 4) + minimum
    }
  }

  /// Scale and minimum, 8 pairs of 6-bit factors in 12 bytes, then 4 planes of 64 nibbles.
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

  /// 16 pairs of 4-bit factors, 64 bytes of 2-bit codes, then scale and minimum.
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

  /// 64 bytes of 2-bit codes for −1, 0 and 1, then a scale.
  private static func dequantizeTQ2(_ block: Block, into values: Values) {
    let scale = half(block, at: 64)
    for index in 0..<256 {
      values[index] = scale * Float(Int(twoBitCode(block, at: 0, index)) - 1)
    }
  }

  /// Code `index` of 256: 32 bytes hold four planes of 32 codes, the lowest bits the first plane.
  private static func twoBitCode(_ block: Block, at start: Int, _ index: Int) -> UInt8 {
    block[start + index / 128 * 32 + index % 32] >> UInt8(index % 128 / 32 * 2) & 3
  }
}
