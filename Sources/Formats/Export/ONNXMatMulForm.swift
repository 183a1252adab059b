import Storage

/// A matrix in the form of ONNX Runtime's `MatMulNBits`: codes with a scale and a zero point for
/// each block along a row.
///
/// Rows of codes are whole blocks; codes past a row's end are 0 and never read, so no input needs
/// padding.
///
/// Float32 zero points are chosen so that their product with the scale rounds to the negated lower
/// bound; if every block has such a zero point, the values are those of the packed file in Float32.
/// Integer zero points are chosen where they are equal to the bounds in that sense, and differ
/// from the packed file's values by the rounding of one product. They take less memory, and ONNX
/// Runtime's kernels for them are many times faster; only those for 2 bits are slower, unless
/// inputs are rounded to int8.
///
/// Source: `com.microsoft.MatMulNBits`, version 1, and ONNX Runtime's CPU kernels, which take zero
/// points in Float32 with 2 and 4 bits, and integers with 2, 4 and 8.
struct ONNXMatMulForm: Hashable, Sendable {
  /// The type of zero points, which decides how the operator computes an element.
  enum ZeroPoints: Sendable {
    /// `scale · code − scale · zero`, with zero points in Float32.
    case float
    /// `scale · (code − zero)`, with zero points of as many bits as codes.
    case integer
  }

  /// A block's scale and zero point.
  struct Parameters: Hashable, Sendable {
    let scale: Float
    let zeroPoint: Float
    /// The code that is written for all elements of a block with a scale of 0.
    var constantCode: UInt8?
  }

  /// The operator's bit width, which is wider than the packed file's if the operator lacks that.
  let bitWidth: Int
  let blockSize: Int
  let zeroPoints: ZeroPoints
  let rows: Int
  let columns: Int

  private static let bitWidths = [2, 4, 8]
  private static let blockSizes = [16, 32, 64, 128, 256]

  /// Chooses the form with the fewest bytes, of integer zero points where they are faster.
  ///
  /// - Parameters:
  ///   - roundsZeroPoints: whether to choose integer zero points where they differ from the bounds.
  ///   - prefersIntegers: whether 2-bit codes get integer zero points where these are equal.
  /// - Throws: `ModelError` when the operator has no form for the tensor.
  init(
    _ tensor: QuantizedTensor, roundsZeroPoints: Bool = false, prefersIntegers: Bool = false
  ) throws {
    guard tensor.shape.rank == 2 else {
      throw ModelError.unsupported("MatMulNBits multiplies by matrices, not \(tensor.shape)")
    }
    if tensor.bitWidth > 2 || roundsZeroPoints || prefersIntegers,
      let form = try Self.smallest(tensor, .integer),
      form.hasIntegerParameters(tensor, rounding: roundsZeroPoints)
    {
      self = form
    } else if let form = try Self.smallest(tensor, .float) {
      self = form
    } else if tensor.bitWidth > 4, try Self.smallest(tensor, .integer) != nil {
      let reason = "MatMulNBits takes \(tensor.bitWidth)-bit codes only with integer zero points"
      throw roundsZeroPoints
        ? ModelError.unsupported("\(reason) from 0 to 255")
        : ModelError.unsupported(reason).offering(.integerZeroPoints)
    } else {
      throw ModelError.unsupported(
        "bounds per \(tensor.layout.granularity) cannot be expressed in MatMulNBits's blocks of "
          + "16 to 256")
    }
  }

  private init(
    bitWidth: Int, blockSize: Int, zeroPoints: ZeroPoints, rows: Int, columns: Int
  ) {
    self.bitWidth = bitWidth
    self.blockSize = blockSize
    self.zeroPoints = zeroPoints
    self.rows = rows
    self.columns = columns
  }

  /// Returns the form with the fewest bytes; `nil` if there is none.
  private static func smallest(
    _ tensor: QuantizedTensor, _ zeroPoints: ZeroPoints
  ) throws -> Self? {
    let layout = tensor.layout
    guard let bitWidth = bitWidths.first(where: { $0 >= tensor.bitWidth }),
      bitWidth < 8 || zeroPoints == .integer
    else { return nil }
    // The kernels for 2-bit codes with integer zero points lack the others.
    let blockSizes = bitWidth == 2 && zeroPoints == .integer ? [32, 64, 128] : blockSizes
    let forms = try blockSizes.filter(layout.hasUniformBlocks).map { blockSize in
      _ = try layout.paddedColumns(toMultipleOf: blockSize)
      return Self(
        bitWidth: bitWidth, blockSize: blockSize, zeroPoints: zeroPoints, rows: layout.rows,
        columns: layout.columns)
    }
    // Among equals, the one with the fewest blocks.
    return forms.reversed().min { $0.byteCount < $1.byteCount }
  }

  var blocksPerRow: Int { (columns - 1) / blockSize + 1 }
  var largestCode: Int { 1 << bitWidth - 1 }
  var codeByteCount: Int { rows * blocksPerRow * blockSize / 8 * bitWidth }

  /// The bytes of one row's zero points.
  var zeroBytesPerRow: Int {
    switch zeroPoints {
    case .float: blocksPerRow * MemoryLayout<Float>.size
    case .integer: (blocksPerRow * bitWidth - 1) / 8 + 1
    }
  }

  /// Codes, scales and zero points.
  var byteCount: Int {
    codeByteCount + rows * (blocksPerRow * MemoryLayout<Float>.size + zeroBytesPerRow)
  }

  /// Whether every cell has an integer zero point.
  private func hasIntegerParameters(_ tensor: QuantizedTensor, rounding: Bool) -> Bool {
    zip(tensor.lower, tensor.scale).allSatisfy { lower, scale in
      guard let found = integerParameters(lower: lower, scale: scale) else { return false }
      return rounding || scale == 0 || found.zeroPoint * scale == -lower
    }
  }

  /// Returns the parameters of every block, row-major.
  ///
  /// - Throws: `ModelError` when a lower bound is too many scales away for Float32.
  func parameters(of tensor: QuantizedTensor) throws -> [Parameters] {
    try (0..<rows).flatMap { row in
      try (0..<blocksPerRow).map { block in
        let cell = tensor.layout.cellIndex(row: row, column: block * blockSize)
        let (lower, scale) = (tensor.lower[cell], tensor.scale[cell])
        if zeroPoints == .integer, let found = integerParameters(lower: lower, scale: scale) {
          return found
        }
        return try Self.parameters(lower: lower, scale: scale)
      }
    }
  }

  /// Returns parameters with the integer zero point that is closest to the lower bound.
  ///
  /// - Returns: `nil` when it is not one of the codes.
  func integerParameters(lower: Float, scale: Float) -> Parameters? {
    guard scale > 0 else {
      return Parameters(
        scale: abs(lower), zeroPoint: lower < 0 ? 1 : 0, constantCode: lower > 0 ? 1 : 0)
    }
    let zeroPoint = (-lower / scale).rounded(.toNearestOrEven)
    guard (0...Float(largestCode)).contains(zeroPoint) else { return nil }
    return Parameters(scale: scale, zeroPoint: zeroPoint)
  }

  static func parameters(lower: Float, scale: Float) throws -> Parameters {
    guard scale > 0 else {
      return Parameters(
        scale: abs(lower), zeroPoint: lower < 0 ? 1 : lower > 0 ? -1 : 0, constantCode: 0)
    }
    let quotient = -lower / scale
    guard quotient.isFinite else {
      throw ModelError.unsupported(
        "the scale \(scale) is too small relative to the lower bound \(lower) for MatMulNBits")
    }
    let exact = [quotient, quotient.nextUp, quotient.nextDown].first { $0 * scale == -lower }
    return Parameters(scale: scale, zeroPoint: exact ?? quotient)
  }

  /// Returns one byte per code, with each row padded to whole blocks.
  func codes(of tensor: QuantizedTensor, _ parameters: [Parameters]) throws -> [UInt8] {
    var codes = try tensor.unpackedCodes(paddingRowsTo: blocksPerRow * blockSize)
    for (block, parameter) in parameters.enumerated() {
      guard let code = parameter.constantCode else { continue }
      let first = block * blockSize
      let length = min(blockSize, columns - block % blocksPerRow * blockSize)
      codes.replaceSubrange(first..<first + length, with: repeatElement(code, count: length))
    }
    return codes
  }

  /// Returns integer zero points as a stream of bits in whole bytes for each row.
  func packedZeroPoints(_ parameters: [Parameters]) -> [UInt8] {
    (0..<rows).flatMap { row in
      let zeroPoints = parameters[row * blocksPerRow..<(row + 1) * blocksPerRow]
      return BitStream.pack(zeroPoints.map { UInt8($0.zeroPoint) }, bitWidth: bitWidth).array
    }
  }

  /// Returns the matrix that the operator multiplies by, row-major.
  func values(codes: [UInt8], _ parameters: [Parameters]) -> [Float] {
    var values: [Float] = []
    values.reserveCapacity(rows * columns)
    for row in 0..<rows {
      for column in 0..<columns {
        let block = parameters[row * blocksPerRow + column / blockSize]
        let code = Float(codes[row * blocksPerRow * blockSize + column])
        switch zeroPoints {
        case .float:
          let product = block.scale * code
          values.append(product - block.scale * block.zeroPoint)
        case .integer:
          values.append(block.scale * (code - block.zeroPoint))
        }
      }
    }
    return values
  }
}
