import CKernels
import Storage

/// The lower bounds and scales of a tensor's cells, as a file holds them.
///
/// With `QuantizationParameterType.scaled6`, each row of the matrix has a unit, a non-negative
/// bfloat16 number `u`, and each of its groups two codes of six bits: `s` in 0…63 and `l` in
/// −32…31. The group's scale is `u · s` and its lower bound `u · 2^bitWidth · l`. Both products have
/// at most 14 significant bits, so they are exact in Float32.
package struct AffineParameters: Hashable, Sendable {
  /// The lower bound of each cell, in Float32.
  package let lower: [Float]
  /// The scale of each cell, in Float32.
  package let scale: [Float]
  /// The unit of each row; empty unless parameters are `.scaled6`.
  package let units: [Float]

  /// The codes of a group.
  static let scaleCodes = 0...CK_LARGEST_SCALE_CODE
  static let lowerCodes = CK_LEAST_LOWER_CODE...CK_LARGEST_LOWER_CODE

  /// Rounds parameters to the nearest that `spec` can store.
  ///
  /// Under `.scaled6`, a row's unit is the least that holds the row's largest scale and bounds.
  ///
  /// - Parameters:
  ///   - lower: one per cell of the layout.
  ///   - scale: likewise, not negative.
  /// - Throws: `ModelError` when a positive scale would become zero.
  package init(rounding lower: [Float], _ scale: [Float], to spec: AffineSpec) throws {
    switch spec.parameterType {
    case .float32: self.init(lower: lower, scale: scale)
    case .float16:
      self.init(lower: lower.map { Float(Float16($0)) }, scale: scale.map { Float(Float16($0)) })
    case .scaled6:
      self.init(
        rounding: lower, scale, units: Self.units(holding: lower, scale, spec), spec: spec)
    }
    for index in scale.indices where scale[index] > 0 && self.scale[index] == 0 {
      throw ModelError(
        "the scale \(scale[index]) of cell \(index) is too small for \(spec.parameterType)")
    }
  }

  /// Rounds parameters to codes under given units, one per row of the layout.
  package init(rounding lower: [Float], _ scale: [Float], units: [Float], spec: AffineSpec) {
    var (lower, scale) = (lower, scale)
    let levels = Float(1 << spec.bitWidth)
    for index in lower.indices {
      let unit = units[index / spec.layout.cellsPerRow]
      guard unit > 0 else {
        (lower[index], scale[index]) = (0, 0)
        continue
      }
      let least: Float = scale[index] > 0 ? 1 : 0
      let scaleCode = (scale[index] / unit).rounded(.toNearestOrEven)
      let lowerCode = (lower[index] / (unit * levels)).rounded(.toNearestOrEven)
      scale[index] = unit * min(max(scaleCode, least), Float(Self.scaleCodes.upperBound))
      lower[index] =
        unit * levels
        * min(
          max(lowerCode, Float(Self.lowerCodes.lowerBound)), Float(Self.lowerCodes.upperBound))
    }
    self.init(lower: lower, scale: scale, units: units)
  }

  /// Returns the unit of each row: the least bfloat16 number under which codes reach the row's
  /// scales and lower bounds.
  package static func units(
    holding lower: [Float], _ scale: [Float], _ spec: AffineSpec
  ) -> [Float] {
    let levels = Float(1 << spec.bitWidth)
    let width = spec.layout.cellsPerRow
    return stride(from: 0, to: lower.count, by: width).map { first in
      var unit: Float = 0
      for index in first..<first + width {
        unit = max(
          unit, scale[index] / Float(scaleCodes.upperBound),
          lower[index] / (levels * Float(lowerCodes.upperBound)),
          lower[index] / (levels * Float(lowerCodes.lowerBound)))
      }
      // Away from zero: the bits of positive numbers are in their order.
      return Float(bitPattern: (unit.bitPattern + 0xFFFF) & 0xFFFF_0000)
    }
  }

  init(lower: [Float], scale: [Float], units: [Float] = []) {
    self.lower = lower
    self.scale = scale
    self.units = units
  }
}

extension AffineParameters {
  /// Reads the parameters of a record.
  ///
  /// - Parameter bytes: as long as `spec.parameterByteCount`.
  /// - Throws: `ModelError` when a unit is not a finite number of at least 0, codes of a row whose
  ///   unit is 0 are not 0, or bits after the last code are not zero.
  init(parsing bytes: SharedBytes, spec: AffineSpec) throws {
    let count = spec.layout.cellCount
    let values = bytes.withUnsafeBytes { buffer -> [Float]? in
      switch spec.parameterType {
      case .float32:
        (0..<2 * count).map { buffer.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self) }
      case .float16:
        (0..<2 * count).map {
          Float(buffer.loadUnaligned(fromByteOffset: 2 * $0, as: Float16.self))
        }
      case .scaled6: nil
      }
    }
    if let values {
      self.init(lower: Array(values[..<count]), scale: Array(values[count...]))
    } else {
      try self.init(parsingCodes: bytes, spec: spec)
    }
  }

  private init(parsingCodes bytes: SharedBytes, spec: AffineSpec) throws {
    let (count, rowCount) = (spec.layout.cellCount, spec.layout.rows)
    let units = bytes.withUnsafeBytes { buffer in
      (0..<rowCount).map { row in
        let bits = buffer.loadUnaligned(fromByteOffset: 2 * row, as: UInt16.self)
        return Float(bitPattern: UInt32(bits) << 16)
      }
    }
    if let row = units.firstIndex(where: { !($0.isFinite && $0 >= 0 && $0.sign == .plus) }) {
      throw ModelError.mismatch(
        expected: "a finite unit of at least 0 in row \(row)", found: "\(units[row])")
    }
    let middle = 2 * rowCount + (bytes.count - 2 * rowCount) / 2
    let streams = [bytes.slice(2 * rowCount..<middle), bytes.slice(middle..<bytes.count)]
    let codes = try streams.map { stream in
      guard BitStream.hasZeroTail(stream, count: count, bitWidth: 6) else {
        throw ModelError.malformed("the bits after the last code of a parameter are not zero")
      }
      return try BitStream.unpackCodes(stream, count: count, bitWidth: 6)
    }
    let levels = Float(1 << spec.bitWidth)
    var (lower, scale) = ([Float](), [Float]())
    lower.reserveCapacity(count)
    scale.reserveCapacity(count)
    for index in 0..<count {
      let row = index / spec.layout.cellsPerRow
      guard units[row] > 0 || codes[0][index] == 0 && codes[1][index] == 0 else {
        throw ModelError.malformed("row \(row) has a unit of 0, and a parameter that is not 0")
      }
      lower.append(units[row] * (levels * Float(Int8(bitPattern: codes[0][index] << 2) >> 2)))
      scale.append(units[row] * Float(codes[1][index]))
    }
    self.init(lower: lower, scale: scale, units: units)
  }

  /// Returns the parameters as a record begins with them.
  package func bytes(_ spec: AffineSpec) -> SharedBytes {
    switch spec.parameterType {
    case .float32: return SharedBytes(elementsOf: lower + scale)
    case .float16: return SharedBytes(elementsOf: (lower + scale).map { Float16($0) })
    case .scaled6:
      let levels = Float(1 << spec.bitWidth)
      func codes(_ values: [Float], _ step: Float) -> SharedBytes {
        BitStream.pack(
          values.indices.map { index in
            let unit = units[index / spec.layout.cellsPerRow]
            // The quotient of a product by its factor is exact.
            return unit > 0 ? UInt8(truncatingIfNeeded: Int(values[index] / unit / step)) & 63 : 0
          }, bitWidth: 6)
      }
      return SharedBytes(joining: [
        SharedBytes(elementsOf: units.map { UInt16($0.bitPattern >> 16) }),
        codes(lower, levels), codes(scale, 1),
      ])
    }
  }
}
