import CKernels
import Storage

/// Rounds a tensor's stored bytes to nearest, block by block.
///
/// Besides the codes it takes a few hundred kilobytes, regardless of the tensor's length. The codes
/// are those of `QuantizedTensor.encode`, on every processor.
package struct TensorEncoder {
  private let bytes: SharedBytes
  private let elementType: ElementType
  private let shape: Shape
  let spec: AffineSpec
  /// The type of the elements in `bytes`.
  private let element: ck_element
  private let elementWidth: Int

  /// The number of elements per block: a multiple of eight, so that codes fill whole bytes.
  static let blockCount = 1 << 14

  private var layout: AffineLayout { spec.layout }

  /// The number of elements of the tensor.
  package var elementCount: Int { layout.elementCount }

  /// - Parameters:
  ///   - bytes: the tensor's elements, row-major.
  ///   - spec: a specification for this shape.
  /// - Throws: `ModelError` for element types that cannot be quantized, and for other lengths.
  package init(
    _ bytes: SharedBytes, elementType: ElementType, shape: Shape, spec: AffineSpec
  ) throws {
    (element, elementWidth) = try Self.kernelType(elementType)
    guard bytes.count == spec.layout.elementCount * elementWidth else {
      throw ModelError(
        .truncated(
          expectedBytes: spec.layout.elementCount * elementWidth, foundBytes: bytes.count,
          purpose: "\(elementType) \(shape)"))
    }
    self.bytes = bytes
    self.elementType = elementType
    self.shape = shape
    self.spec = spec
  }

  /// - Parameter values: one per element of the layout.
  fileprivate init(
    _ values: [Float], elementType: ElementType, shape: Shape, spec: AffineSpec
  ) {
    precondition(values.count == spec.layout.elementCount, "one value per element")
    (element, elementWidth) = (CK_ELEMENT_FLOAT32, 4)
    bytes = SharedBytes(elementsOf: values)
    self.elementType = elementType
    self.shape = shape
    self.spec = spec
  }

  /// Returns an encoder of other values for the same tensor.
  package func encoder(of values: [Float]) throws -> TensorEncoder {
    TensorEncoder(values, elementType: elementType, shape: shape, spec: spec)
  }

  private static func kernelType(
    _ elementType: ElementType
  ) throws -> (element: ck_element, width: Int) {
    switch elementType {
    case .float32: (CK_ELEMENT_FLOAT32, 4)
    case .float16: (CK_ELEMENT_FLOAT16, 2)
    case .bfloat16: (CK_ELEMENT_BFLOAT16, 2)
    case .float64: (CK_ELEMENT_FLOAT64, 8)
    default: throw ModelError.unsupported("\(elementType) elements cannot be quantized")
    }
  }

  /// The least and the largest value of a cell.
  package typealias CellExtremes = (least: Float, largest: Float)

  /// The result of `extremes`.
  package enum Extremes: Sendable {
    /// The least and the largest value of each cell; of zeros, the least is the first.
    case found([CellExtremes])
    /// The first element that is not finite.
    case notFinite(element: Int, value: Float)
  }

  /// Finds the least and the largest value of each cell.
  package func extremes() -> Extremes {
    var found: [CellExtremes] = []
    found.reserveCapacity(layout.cellCount)
    for cell in 0..<layout.cellCount {
      let elements = layout.elements(ofCell: cell)
      var extremes: CellExtremes?
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

  /// Calls `body` with contiguous elements in Float32, rounded to nearest.
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

  /// Returns the stored element at `index`, before rounding to Float32.
  package func exactValue(at index: Int) -> Double {
    guard element == CK_ELEMENT_FLOAT64 else {
      return withValues(index..<index + 1) { Double($0[0]) }
    }
    precondition((0..<layout.elementCount).contains(index), "element out of range")
    return bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: 8 * index, as: Double.self) }
  }

  /// Encodes the tensor with the given parameters, which are first rounded to `parameterType`, and
  /// returns it with its cost. Elements must be finite.
  ///
  /// - Parameters:
  ///   - lower: the lower bound of each cell.
  ///   - scale: the scale of each cell, not negative.
  /// - Throws: `ModelError` as `QuantizedTensor.encode` does.
  package func encode(
    lower: [Float], scale: [Float]
  ) throws -> (tensor: QuantizedTensor, cost: RoundingCost) {
    try QuantizedTensor.checkCounts(
      layout, values: layout.elementCount, lower: lower.count, scale: scale.count)
    try QuantizedTensor.checkBitWidth(spec.bitWidth)
    try spec.checkParameterType()
    return try encode(AffineParameters(rounding: lower, scale, to: spec))
  }

  /// Encodes the tensor with the given parameters and returns it with its cost.
  ///
  /// - Throws: `ModelError` as above.
  package func encode(
    _ parameters: AffineParameters
  ) throws -> (tensor: QuantizedTensor, cost: RoundingCost) {
    let bitWidth = spec.bitWidth
    let (lower, scale) = (parameters.lower, parameters.scale)
    let type = try Self.kernelType(elementType).element
    guard let byteCount = spec.codeByteCount else {
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
                lower: lower[cell], scale: scale[cell], bits: UInt32(bitWidth), type: type)
              // `values` and `block` both hold the elements of the block, from `start` on.
              ck_affine_encode(
                &code, values.baseAddress?.advanced(by: position - start), pieceEnd - position,
                block.baseAddress?.advanced(by: position - start), &cost)
              position = pieceEnd
            }
          }
          // Earlier blocks were whole, so their codes end at a byte boundary.
          ck_pack_codes(
            block.baseAddress, end - start, UInt32(bitWidth),
            stream.baseAddress?.advanced(by: start / 8 * bitWidth)
              .assumingMemoryBound(to: UInt8.self))
        }
      }
    }
    let tensor = try QuantizedTensor(
      elementType: elementType, shape: shape, spec: spec, parameters: parameters, codes: codes)
    return (tensor, RoundingCost(cost, elementCount: layout.elementCount))
  }
}

extension QuantizedTensor {
  /// Returns the tensor closest to `values` under the given parameters, which are first rounded to
  /// the type in which they are stored.
  ///
  /// The code of `w` is `clip(rint((w − lower) / scale), 0, 2^bitWidth − 1)` in Float32, ties to
  /// even, and 0 if the scale is 0. For `w` in a cell's rounded `lower…upper`,
  /// `|w − decode(encode(w))| ≤ scale / 2`, up to the rounding of Float32
  /// (`2⁻²² · max(|lower|, |upper|)`) and of the element type.
  ///
  /// - Parameters:
  ///   - values: the elements, row-major, finite.
  ///   - lower: the lower bound of each cell.
  ///   - scale: the scale of each cell, not negative.
  /// - Throws: `ModelError` that names the first value that is not finite, and when parameters are
  ///   not finite or a positive scale becomes zero in the type in which they are stored.
  public static func encode(
    values: [Float], spec: AffineSpec, lower: [Float], scale: [Float], elementType: ElementType,
    shape: Shape
  ) throws -> QuantizedTensor {
    try checkCounts(spec.layout, values: values.count, lower: lower.count, scale: scale.count)
    try checkBitWidth(spec.bitWidth)
    if let index = values.firstIndex(where: { !$0.isFinite }) {
      throw ModelError.mismatch(
        expected: "finite values to quantize", found: "\(values[index]) at element \(index)")
    }
    return try TensorEncoder(values, elementType: elementType, shape: shape, spec: spec)
      .encode(lower: lower, scale: scale).tensor
  }
}
