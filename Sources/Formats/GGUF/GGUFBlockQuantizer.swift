import Storage

/// Rounds matrices to the blocks of Q4_K or Q6_K, whatever codes they had before.
///
/// Scales and minima of a block's parts are searched for the least squared error, first as real
/// numbers and then as the multiples of the block's float16 that the type stores. Codes are the
/// nearest for what is stored, so that the result is what a reader decodes.
struct GGUFBlockQuantizer: Sendable {
  let type: GGUFExportBlocks
  let rows: Int
  let columns: Int
  let paddedColumns: Int

  /// The number of rows whose parameters are searched together.
  private static let elementCountAtOnce = 1 << 16

  /// - Throws: `ModelError` when rows are not whole blocks, unless they may be padded.
  init(_ type: GGUFExportBlocks, shape: Shape, padsRows: Bool) throws {
    guard shape.rank == 2, let matrix = shape.matrix else {
      throw ModelError.unsupported("GGUF quantizes matrices, not \(shape)")
    }
    let length = type.blocks.elementCount
    let (padded, overflow) = matrix.columns.addingReportingOverflow(length - 1)
    guard !overflow else { throw ModelError.malformed("its rows are too long") }
    self.type = type
    (rows, columns) = matrix
    paddedColumns = padded / length * length
    guard padsRows || paddedColumns == columns else {
      throw ModelError.unsupported(
        "rows of \(columns) elements are not whole blocks of \(length) in GGUF"
      ).offering(.padding)
    }
  }

  var byteCount: Int { rows * (paddedColumns / type.blocks.elementCount) * type.blocks.byteCount }

  /// Returns the stored blocks of `values`, row-major; padding is zero.
  ///
  /// - Throws: `ModelError` for values that are not finite, or too large for the type.
  func encode(_ values: [Float]) throws -> SharedBytes {
    guard values.allSatisfy(\.isFinite) else {
      throw ModelError.unsupported("values that are not finite have no blocks of \(type.name)")
    }
    let blocks = type.blocks
    let height = max(1, Self.elementCountAtOnce / paddedColumns)
    return try SharedBytes(count: byteCount) { output in
      for row in stride(from: 0, to: rows, by: height) {
        let count = min(height, rows - row)
        var padded = [Float](repeating: 0, count: count * paddedColumns)
        for index in 0..<count {
          let start = (row + index) * columns
          padded.replaceSubrange(
            index * paddedColumns..<index * paddedColumns + columns,
            with: values[start..<start + columns])
        }
        let bounds = try type == .q4K ? bounds(of: padded, rows: count) : nil
        for block in 0..<padded.count / blocks.elementCount {
          let first = block * blocks.elementCount
          let place = row * paddedColumns / blocks.elementCount + block
          let target = UnsafeMutableRawBufferPointer(
            rebasing: output[place * blocks.byteCount..<(place + 1) * blocks.byteCount])
          let block = padded[first..<first + blocks.elementCount]
          if let bounds {
            let parts = first / 32..<first / 32 + 8
            try Self.encodeQ4K(
              Array(block), lower: Array(bounds.lower[parts]), scale: Array(bounds.scale[parts]),
              into: target)
          } else {
            try Self.encodeQ6K(Array(block), into: target)
          }
        }
      }
    }
  }

  /// Returns the values that a reader dequantizes from `stored`, without padding.
  func values(_ stored: SharedBytes) -> [Float] {
    let values = type.blocks.dequantize(stored)
    return values.withUnsafeBytes { buffer in
      let floats = buffer.bindMemory(to: Float.self)
      return (0..<rows).flatMap { row in
        floats[row * paddedColumns..<row * paddedColumns + columns]
      }
    }
  }

  /// Returns bounds of groups of 32 in 4 bits.
  private func bounds(of values: [Float], rows: Int) throws -> AffineParameters {
    guard let shape = Shape([rows, paddedColumns]) else {
      throw ModelError.malformed("its rows are too long")
    }
    let spec = AffineSpec(
      layout: try AffineLayout(rows: rows, columns: paddedColumns, granularity: .group(32)),
      bitWidth: 4)
    return try TensorEncoder(
      SharedBytes(elementsOf: values), elementType: .float32, shape: shape, spec: spec
    ).groupParameters()
  }

  // MARK: Q4_K

  private static func encodeQ4K(
    _ values: [Float], lower: [Float], scale: [Float], into output: UnsafeMutableRawBufferPointer
  ) throws {
    // Minima are not negative, so the codes of positive values begin at zero.
    let starts = (0..<8).map { part -> (scale: Float, minimum: Float) in
      guard lower[part] > 0 else { return (scale[part], -lower[part]) }
      let largest = values[part * 32..<(part + 1) * 32].max() ?? 0
      return (largest / 15, 0)
    }
    let unit = try half((starts.map(\.scale).max() ?? 0) / 63)
    let minimumUnit = try half((starts.map(\.minimum).max() ?? 0) / 63)
    var factors: [(scale: Int, minimum: Int)] = []
    for part in 0..<8 {
      let own = values[part * 32..<(part + 1) * 32]
      let nearest = (
        multiple(starts[part].scale, of: unit), multiple(starts[part].minimum, of: minimumUnit)
      )
      var best = (error: Float.infinity, scale: 0, minimum: 0)
      for scaleFactor in around(nearest.0, in: 0...63) {
        for minimumFactor in around(nearest.1, in: 0...63) {
          let error = squaredError(
            own, unit * Float(scaleFactor), minimumUnit * Float(minimumFactor))
          if error < best.error { best = (error, scaleFactor, minimumFactor) }
        }
      }
      factors.append((best.scale, best.minimum))
    }
    output.storeBytes(of: Float16(unit).bitPattern.littleEndian, toByteOffset: 0, as: UInt16.self)
    output.storeBytes(
      of: Float16(minimumUnit).bitPattern.littleEndian, toByteOffset: 2, as: UInt16.self)
    for part in 0..<4 {
      let (low, high) = (factors[part], factors[part + 4])
      output[4 + part] = UInt8(low.scale | (high.scale >> 4) << 6)
      output[8 + part] = UInt8(low.minimum | (high.minimum >> 4) << 6)
      output[12 + part] = UInt8(high.scale & 15 | (high.minimum & 15) << 4)
    }
    for part in 0..<8 {
      let step = unit * Float(factors[part].scale)
      let minimum = minimumUnit * Float(factors[part].minimum)
      for index in 0..<32 {
        let code = UInt8(fourBitCode(values[part * 32 + index], step, minimum))
        output[16 + part / 2 * 32 + index] |= code << UInt8(part % 2 * 4)
      }
    }
  }

  @inline(__always)
  private static func fourBitCode(_ value: Float, _ step: Float, _ minimum: Float) -> Float {
    step == 0 ? 0 : min(max(((value + minimum) / step).rounded(.toNearestOrEven), 0), 15)
  }

  private static func squaredError(
    _ values: ArraySlice<Float>, _ step: Float, _ minimum: Float
  ) -> Float {
    values.reduce(0) { sum, value in
      let difference = step * fourBitCode(value, step, minimum) - minimum - value
      return sum + difference * difference
    }
  }

  // MARK: Q6_K

  private static func encodeQ6K(
    _ values: [Float], into output: UnsafeMutableRawBufferPointer
  ) throws {
    let scales = (0..<16).map { sixBitScale(values[$0 * 16..<($0 + 1) * 16]) }
    let largest = scales.max { abs($0) < abs($1) } ?? 0
    let unit = try half(largest / -128)
    for part in 0..<16 {
      let own = values[part * 16..<(part + 1) * 16]
      let nearest = unit == 0 ? 0 : Int((scales[part] / unit).rounded(.toNearestOrEven))
      var best = (error: Float.infinity, factor: 0)
      for factor in around(min(max(nearest, -128), 127), in: -128...127) {
        let error = sixBitError(own, unit * Float(factor))
        if error < best.error { best = (error, factor) }
      }
      output[192 + part] = UInt8(bitPattern: Int8(best.factor))
      let step = unit * Float(best.factor)
      for index in part * 16..<(part + 1) * 16 {
        let code = UInt8(sixBitCode(values[index], step) + 32)
        output[index / 128 * 64 + index % 64] |= (code & 15) << UInt8(index % 128 / 64 * 4)
        output[128 + index / 128 * 32 + index % 32] |= (code >> 4) << UInt8(index % 128 / 32 * 2)
      }
    }
    output.storeBytes(
      of: Float16(unit).bitPattern.littleEndian, toByteOffset: 208, as: UInt16.self)
  }

  @inline(__always)
  private static func sixBitCode(_ value: Float, _ step: Float) -> Float {
    step == 0 ? 0 : min(max((value / step).rounded(.toNearestOrEven), -32), 31)
  }

  private static func sixBitError(_ values: ArraySlice<Float>, _ step: Float) -> Float {
    values.reduce(0) { sum, value in
      let difference = step * sixBitCode(value, step) - value
      return sum + difference * difference
    }
  }

  /// Returns the scale of least error among those that give the largest magnitude a code near −32
  /// or 31, each improved by least squares.
  private static func sixBitScale(_ values: ArraySlice<Float>) -> Float {
    let largest = values.max { abs($0) < abs($1) } ?? 0
    guard largest != 0 else { return 0 }
    var best = (error: Float.infinity, scale: Float(0))
    for code: Float in [-34, -33.5, -33, -32.5, -32, -31.5, -31, -30, 30, 31, 32] {
      var step = largest / code
      for _ in 0..<2 {
        let error = sixBitError(values, step)
        if error < best.error { best = (error, step) }
        var (products, squares): (Float, Float) = (0, 0)
        for value in values {
          let code = sixBitCode(value, step)
          products += code * value
          squares += code * code
        }
        guard squares > 0, products != 0 else { break }
        step = products / squares
      }
    }
    return best.scale
  }

  // MARK: Multiples

  private static func half(_ value: Float) throws -> Float {
    let half = Float16(value)
    guard half.isFinite else { throw HalfFactors.overflow(value) }
    return Float(half)
  }

  private static func multiple(_ value: Float, of unit: Float) -> Int {
    unit == 0 ? 0 : Int(min(max((value / unit).rounded(.toNearestOrEven), 0), 63))
  }

  private static func around(_ factor: Int, in range: ClosedRange<Int>) -> ClosedRange<Int> {
    max(factor - 1, range.lowerBound)...min(factor + 1, range.upperBound)
  }
}

/// A type of GGUF's blocks to which `export` rounds matrices on request.
///
/// ```swift
/// let model = try PackedModel(parsing: InputFile(path: "model.condi"))
/// let options = ExportOptions(blocks: .q4K)
/// let outcome = try ModelExport(model, to: .gguf, options: options).write(to: "model.gguf")
/// print(outcome.tensors.map(\.form))
/// ```
public enum GGUFExportBlocks: String, Sendable, CaseIterable, Codable {
  /// 4-bit codes with scale and minimum for each 32: 4.5 bits per weight.
  case q4K = "q4_k"
  /// 6-bit codes with a scale for each 16: 6.5625 bits per weight.
  case q6K = "q6_k"

  /// ggml's name.
  var name: String { blocks.name }
  var number: UInt32 { blocks.number }

  var blocks: GGUFBlocks {
    switch self {
    case .q4K: .q4k
    case .q6K: .q6k
    }
  }
}
