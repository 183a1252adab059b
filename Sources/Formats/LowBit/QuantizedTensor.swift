import Glibc
import Storage

/// A tensor stored as codes of 1 to 8 bits with real-valued lower bounds and scales.
///
/// Each cell of the layout has a lower bound and a scale, and a code represents
/// `w = lower + scale · code`: a product and a sum in Float32, each rounded to nearest, which are
/// then converted to the logical element type, rounded to nearest, ties to even.
///
/// The initializers check everything that `dequantized()` relies on: finite bounds, scales of at
/// least zero, finite values at both ends of every cell, lengths, and a zero tail after the codes.
///
/// ```swift
/// let layout = try AffineLayout(rows: 1, columns: 4, granularity: .tensor)
/// let tensor = try QuantizedTensor.encode(
///   values: [-1, -0.3, 0.4, 2], spec: AffineSpec(layout: layout, bitWidth: 2), lower: [-1],
///   scale: [1], elementType: .float32, shape: [1, 4])
/// print(try tensor.unpackedCodes())  // [0, 1, 1, 3]
/// print(try tensor.floatValues())  // [-1.0, 0.0, 0.0, 2.0]
/// ```
public struct QuantizedTensor: Sendable {
  /// The type of the original and dequantized elements: float16, bfloat16, float32 or float64.
  public let elementType: ElementType
  /// The shape of the logical tensor.
  public let shape: Shape
  /// Which elements share parameters, how wide codes are, and how parameters are stored.
  public let spec: AffineSpec
  /// The parameters of the cells, as they are stored.
  package let parameters: AffineParameters
  /// One code per element, row-major, packed without gaps: code `k` takes the bits
  /// `[k·bitWidth, (k+1)·bitWidth)`, low bits of low bytes first; bits after the last are zero.
  public let codes: SharedBytes

  /// The element types that can be quantized.
  package static let supportedElementTypes: Set<ElementType> = [
    .float16, .bfloat16, .float32, .float64,
  ]

  /// Creates a tensor from existing codes.
  ///
  /// - Parameters:
  ///   - lower: the lower bound of each cell, exact in the type of the parameters.
  ///   - scale: the distance between adjacent values in each cell, likewise.
  ///   - codes: a `BitStream` of one code per element.
  /// - Throws: `ModelError` when the rules above are violated.
  public init(
    elementType: ElementType, shape: Shape, spec: AffineSpec, lower: [Float], scale: [Float],
    codes: SharedBytes
  ) throws {
    var parameters = AffineParameters(lower: lower, scale: scale)
    if spec.parameterType == .scaled6 {
      try spec.checkParameterType()
      try Self.checkCounts(
        spec.layout, values: shape.elementCount, lower: lower.count, scale: scale.count)
      parameters = try AffineParameters(rounding: lower, scale, to: spec)
      if let index = lower.indices.first(where: {
        lower[$0] != parameters.lower[$0] || scale[$0] != parameters.scale[$0]
      }) {
        throw Self.inexact(lower[index], scale[index], index, spec)
      }
    }
    try self.init(
      elementType: elementType, shape: shape, spec: spec, parameters: parameters, codes: codes)
  }

  /// Creates a tensor from parameters and codes.
  ///
  /// - Throws: `ModelError` when the rules above are violated.
  package init(
    elementType: ElementType, shape: Shape, spec: AffineSpec, parameters: AffineParameters,
    codes: SharedBytes
  ) throws {
    self.elementType = elementType
    self.shape = shape
    self.spec = spec
    self.parameters = parameters
    self.codes = codes
    try checkForm()
    try checkParameters()
    try checkCodes()
  }

  /// Creates a tensor from the bytes of a file.
  ///
  /// - Parameters:
  ///   - parameters: the parameters as a record begins with them.
  ///   - codes: a `BitStream` of one code per element.
  /// - Throws: `ModelError` when the rules above are violated.
  package init(
    parsing parameters: SharedBytes, codes: SharedBytes, elementType: ElementType, shape: Shape,
    spec: AffineSpec
  ) throws {
    let (cellCount, expected) = (spec.layout.cellCount, spec.parameterByteCount)
    guard parameters.count == expected else {
      throw ModelError(
        .truncated(
          expectedBytes: expected, foundBytes: parameters.count,
          purpose: "\(cellCount) lower bounds and scales in \(spec.parameterType)"))
    }
    try spec.checkParameterType()
    try self.init(
      elementType: elementType, shape: shape, spec: spec,
      parameters: AffineParameters(parsing: parameters, spec: spec), codes: codes)
  }

  /// The lower bound of each cell, exact in `parameterType`.
  public var lower: [Float] { parameters.lower }
  /// The distance between adjacent values in each cell, exact in `parameterType`.
  public var scale: [Float] { parameters.scale }

  /// Which elements share a lower bound and a scale.
  public var layout: AffineLayout { spec.layout }
  /// The bit width of a code, 1 to 8.
  public var bitWidth: Int { spec.bitWidth }
  /// How lower bounds and scales are stored.
  public var parameterType: QuantizationParameterType { spec.parameterType }

  /// Returns the code of each element, row-major.
  public func unpackedCodes() throws -> [UInt8] {
    try BitStream.unpackCodes(codes, count: layout.elementCount, bitWidth: bitWidth)
  }

  /// Returns the values of the codes in Float32, row-major, before conversion to `elementType`.
  public func floatValues() throws -> [Float] {
    let codes = try unpackedCodes()
    return [Float](unsafeUninitializedCapacity: codes.count) { output, count in
      output.initialize(repeating: 0)
      codes.withUnsafeBufferPointer { input in
        for index in 0..<layout.cellCount {
          let elements = layout.elements(ofCell: index)
          code(ofCell: index).decode(
            UnsafeBufferPointer(rebasing: input[elements]),
            into: UnsafeMutableBufferPointer(rebasing: output[elements]))
        }
      }
      count = codes.count
    }
  }

  /// Returns the elements as `elementType`: row-major, little-endian, all finite.
  public func dequantized() throws -> SharedBytes {
    SharedBytes(try floatValues(), roundedTo: elementType)
  }

  /// The parameters as a record begins with them.
  package var parameterBytes: SharedBytes { parameters.bytes(spec) }

  /// Returns the code of the cell at `index`.
  package func code(ofCell index: Int) -> AffineCode {
    AffineCode(lower: lower[index], scale: scale[index], bitWidth: bitWidth)
  }
}

extension QuantizedTensor {
  static func checkBitWidth(_ bitWidth: Int) throws {
    guard (1...8).contains(bitWidth) else {
      throw ModelError.mismatch(expected: "1 to 8 bits per code", found: "\(bitWidth)")
    }
  }

  static func checkCounts(_ layout: AffineLayout, values: Int, lower: Int, scale: Int) throws {
    guard values == layout.elementCount else {
      throw ModelError.mismatch(
        expected: counted(layout.elementCount, "element"), found: "\(values)")
    }
    guard lower == layout.cellCount, scale == layout.cellCount else {
      throw ModelError.mismatch(
        expected: "\(layout.cellCount) lower bounds and scales", found: "\(lower) and \(scale)")
    }
  }

  /// Checks that the element type can be quantized and that the layout fits the shape.
  func checkForm() throws {
    guard Self.supportedElementTypes.contains(elementType) else {
      throw ModelError.unsupported("\(elementType) elements cannot be quantized")
    }
    try Self.checkBitWidth(bitWidth)
    try spec.checkParameterType()
    let own = try AffineLayout(
      shape: shape, granularity: layout.granularity, parts: layout.parts)
    guard own == layout else {
      throw ModelError.mismatch(
        expected: "\(own.rows) rows of \(own.columns) for \(shape)",
        found: "\(layout.rows) rows of \(layout.columns)")
    }
    try Self.checkCounts(
      layout, values: shape.elementCount, lower: lower.count, scale: scale.count)
  }

  /// Checks that the parameters make every code a finite element.
  func checkParameters() throws {
    let (lower, scale) = (lower, scale)
    for index in 0..<layout.cellCount {
      guard lower[index].isFinite, scale[index].isFinite, scale[index] >= 0 else {
        throw ModelError.mismatch(
          expected: "a finite lower bound and a finite scale of at least 0 in cell \(index)",
          found: "\(lower[index]) and \(scale[index])")
      }
      guard parameterType.rounded(lower[index]) == lower[index],
        parameterType.rounded(scale[index]) == scale[index]
      else {
        throw Self.inexact(lower[index], scale[index], index, spec)
      }
      // Values increase with the code, so checking both ends suffices.
      let code = code(ofCell: index)
      guard elementType.rounded(code.lower).isFinite, elementType.rounded(code.upper).isFinite
      else {
        throw ModelError.mismatch(
          expected: "values within \(elementType) in cell \(index)",
          found: "\(code.lower) to \(code.upper)")
      }
    }
  }

  private static func inexact(
    _ lower: Float, _ scale: Float, _ index: Int, _ spec: AffineSpec
  ) -> ModelError {
    ModelError.mismatch(
      expected: "parameters that are exact in \(spec.parameterType) in cell \(index)",
      found: "\(lower) and \(scale)")
  }

  func checkCodes() throws {
    guard let expected = spec.codeByteCount, codes.count == expected
    else {
      throw ModelError(
        .truncated(
          expectedBytes: spec.codeByteCount ?? .max,
          foundBytes: codes.count,
          purpose: "\(counted(layout.elementCount, "code")) of \(bitWidth) bits"))
    }
    guard BitStream.hasZeroTail(codes, count: layout.elementCount, bitWidth: bitWidth) else {
      throw ModelError.malformed("the bits after the last code are not zero")
    }
  }

  /// Returns the upper half of a finite or infinite Float, rounded to nearest, ties to even.
  static func bfloat16Bits(_ value: Float) -> UInt16 {
    let bits = value.bitPattern
    return UInt16(truncatingIfNeeded: (bits + 0x7FFF + (bits >> 16 & 1)) >> 16)
  }
}
