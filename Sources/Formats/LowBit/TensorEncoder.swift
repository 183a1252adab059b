import CKernels
import Storage

/// Rounds a tensor to nearest as its bytes lie in a file, block by block.
///
/// Beside the codes it takes a few hundred kilobytes, whatever the tensor's length. The codes are those
/// of `QuantizedTensor.encode`, on every processor.
package struct TensorEncoder {
  private let bytes: SharedBytes
  private let elementType: ElementType
  private let shape: Shape
  private let layout: AffineLayout
  private let element: ck_element
  private let elementWidth: Int

  /// Elements that are worked on at once: a multiple of eight, whose codes fill whole bytes.
  private static let blockCount = 1 << 14

  /// - Parameters:
  ///   - bytes: the tensor's elements, row-major.
  ///   - layout: of a tensor of this shape.
  /// - Throws: `ModelError` for element types that cannot be quantized, and for other lengths.
  package init(
    _ bytes: SharedBytes, elementType: ElementType, shape: Shape, layout: AffineLayout
  ) throws {
    (element, elementWidth) =
      switch elementType {
      case .float32: (CK_ELEMENT_FLOAT32, 4)
      case .float16: (CK_ELEMENT_FLOAT16, 2)
      case .bfloat16: (CK_ELEMENT_BFLOAT16, 2)
      case .float64: (CK_ELEMENT_FLOAT64, 8)
      default: throw ModelError.unsupported("\(elementType) elements cannot be quantized")
      }
    guard bytes.count == layout.elementCount * elementWidth else {
      throw ModelError(
        .truncated(
          expectedBytes: layout.elementCount * elementWidth, foundBytes: bytes.count,
          purpose: "\(elementType) \(shape)"))
    }
    self.bytes = bytes
    self.elementType = elementType
    self.shape = shape
    self.layout = layout
  }

  /// What `extremes` finds.
  package enum Extremes: Sendable {
    /// The least and the largest value of each cell; of zeros, the least is the first.
    case found([(least: Float, largest: Float)])
    /// The first element that is no finite number.
    case notFinite(element: Int, value: Float)
  }

  /// The least and the largest value of each cell.
  package func extremes() -> Extremes {
    var found: [(least: Float, largest: Float)] = []
    found.reserveCapacity(layout.cellCount)
    for cell in 0..<layout.cellCount {
      let elements = layout.elements(ofCell: cell)
      var extremes: (least: Float, largest: Float)?
      for start in stride(from: elements.lowerBound, to: elements.upperBound, by: Self.blockCount) {
        let block = start..<min(start + Self.blockCount, elements.upperBound)
        var (least, largest): (Float, Float) = (0, 0)
        let odd: (index: Int, value: Float)? = withValues(block) { values in
          let index = ck_extremes(values.baseAddress, values.count, &least, &largest)
          return index < values.count ? (index, values[index]) : nil
        }
        if let odd { return .notFinite(element: start + odd.index, value: odd.value) }
        extremes =
          extremes.map { (min($0.least, least), max($0.largest, largest)) }
          ?? (least, largest)
      }
      if let extremes { found.append(extremes) }
    }
    return .found(found)
  }

  /// Calls `body` with elements that follow one another, in Float32, rounded to nearest.
  package func withValues<Result>(
    _ elements: Range<Int>, _ body: (UnsafeBufferPointer<Float>) throws -> Result
  ) rethrows -> Result {
    precondition(
      elements.lowerBound >= 0 && elements.upperBound <= layout.elementCount,
      "elements out of range")
    return try bytes.withUnsafeBytes { buffer in
      let source = UnsafeRawBufferPointer(
        rebasing: buffer[
          elements.lowerBound * elementWidth..<elements.upperBound * elementWidth])
      if element == CK_ELEMENT_FLOAT32, let start = source.baseAddress,
        UInt(bitPattern: start).isMultiple(of: 4)
      {
        return try source.withMemoryRebound(to: Float.self, body)
      }
      return try withUnsafeTemporaryAllocation(of: Float.self, capacity: elements.count) { values in
        values.initialize(repeating: 0)
        ck_widen(element, source.baseAddress, elements.count, values.baseAddress)
        return try body(UnsafeBufferPointer(values))
      }
    }
  }

  /// The element at `index` as it is stored, before rounding to Float32.
  package func exactValue(at index: Int) -> Double {
    guard element == CK_ELEMENT_FLOAT64 else {
      return withValues(index..<index + 1) { Double($0[0]) }
    }
    precondition((0..<layout.elementCount).contains(index), "element out of range")
    return bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: 8 * index, as: Double.self) }
  }

  /// The tensor of codes under the given parameters, which are first rounded to `parameterType`, and
  /// what that loses. Elements must be finite.
  ///
  /// - Parameters:
  ///   - lower: the lower bound of each cell.
  ///   - scale: the scale of each cell, not negative.
  /// - Throws: as `QuantizedTensor.encode`.
  package func encode(
    bitWidth: Int, parameterType: QuantizationParameterType, lower: [Float], scale: [Float]
  ) throws -> (tensor: QuantizedTensor, cost: QuantizationCost) {
    try QuantizedTensor.checkCounts(
      layout, values: layout.elementCount, lower: lower.count, scale: scale.count)
    try QuantizedTensor.checkBitWidth(bitWidth)
    let (lower, scale) = try QuantizedTensor.rounded(lower, scale, to: parameterType)
    guard let byteCount = QuantizedTensor.codeByteCount(layout, bitWidth: bitWidth) else {
      throw ModelError.unsupported("\(shape) at \(bitWidth) bits overflows")
    }
    var cost = ck_affine_cost()
    let codes = SharedBytes(count: byteCount) { stream in
      withUnsafeTemporaryAllocation(of: UInt8.self, capacity: Self.blockCount) { block in
        block.initialize(repeating: 0)
        var cell = 0
        var cellEnd = layout.elements(ofCell: 0).upperBound
        for start in stride(from: 0, to: layout.elementCount, by: Self.blockCount) {
          let end = min(start + Self.blockCount, layout.elementCount)
          withValues(start..<end) { values in
            var position = start
            while position < end {
              if position == cellEnd {
                cell += 1
                cellEnd = layout.elements(ofCell: cell).upperBound
              }
              let pieceEnd = min(cellEnd, end)
              var code = ck_affine_code(
                lower: lower[cell], scale: scale[cell], bits: UInt32(bitWidth), type: element)
              // Both have as many elements as the block, from `start` on.
              ck_affine_encode(
                &code, values.baseAddress?.advanced(by: position - start), pieceEnd - position,
                block.baseAddress?.advanced(by: position - start), &cost)
              position = pieceEnd
            }
          }
          // Blocks before were whole, so their codes end with a byte.
          ck_pack_codes(
            block.baseAddress, end - start, UInt32(bitWidth),
            stream.baseAddress?.advanced(by: start / 8 * bitWidth)
              .assumingMemoryBound(to: UInt8.self))
        }
      }
    }
    let tensor = try QuantizedTensor(
      elementType: elementType, shape: shape, layout: layout, bitWidth: bitWidth,
      parameterType: parameterType, lower: lower, scale: scale, codes: codes)
    return (tensor, QuantizationCost(cost, elementCount: layout.elementCount))
  }
}

/// What rounding a tensor cost, measured while it was rounded.
package struct QuantizationCost: Hashable, Sendable {
  package let elementCount: Int
  /// Σ w².
  package let signal: Double
  /// Σ (w − ŵ)², with ŵ in the element type.
  package let noise: Double
  /// max |w − ŵ|.
  package let maximum: Double
  /// Elements whose nearest multiple of the scale lies outside the range of codes.
  package let clippedCount: Int

  init(_ cost: ck_affine_cost, elementCount: Int) {
    self.elementCount = elementCount
    signal = cost.signal
    noise = cost.noise
    maximum = cost.largest_error
    clippedCount = Int(cost.clipped)
  }

  /// The same, measured afterwards.
  package init(_ error: QuantizationError) {
    elementCount = error.elementCount
    signal = error.signal
    noise = error.noise
    maximum = error.maximum
    clippedCount = error.clippedCount
  }

  /// 10·log₁₀(Σ w² / Σ (w − ŵ)²) in dB; infinite without noise.
  package var signalToNoise: Double {
    QuantizationError.decibels(signal: signal, noise: noise)
  }

  package var rootMeanSquare: Double { (noise / Double(max(1, elementCount))).squareRoot() }

  /// The share of clipped elements, 0…1.
  package var clippedShare: Double { Double(clippedCount) / Double(max(1, elementCount)) }
}
