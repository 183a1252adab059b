import Storage

/// Writes an ONNX model of layers, with one `MatMulNBits` per quantized matrix, which multiplies
/// its input by the stored matrix. The operator is ONNX Runtime's own.
///
/// A matrix `x` of `[rows, columns]` turns `x/input`, `[n, columns]`, into `x/output`, `[n, rows]`:
/// it multiplies the input by the transposed matrix, as a PyTorch linear layer without bias does.
struct ONNXMatMulExporter: ONNXGraphExporter {
  func plan(
    _ name: String, _ tensor: QuantizedTensor, padsRows: Bool,
    load: @escaping @Sendable () throws -> QuantizedTensor
  ) throws -> PlannedTensor<ONNXPiece> {
    let form = try ONNXMatMulForm(tensor)
    let parameters = try form.parameters(of: tensor)
    let blocks = [form.rows, form.blocksPerRow]
    var graph = ONNXGraph()
    graph.initializers = [
      .init(
        "\(name)/codes", .uint8, blocks + [form.blockSize / 8 * form.bitWidth],
        byteCount: form.codeByteCount
      ) {
        let tensor = try load()
        return BitStream.pack(
          try form.codes(of: tensor, form.parameters(of: tensor)), bitWidth: form.bitWidth)
      },
      .init("\(name)/scale", .float, blocks, parameters.map(\.scale)),
      .init("\(name)/zero", .float, blocks, parameters.map(\.zeroPoint)),
    ]
    let (input, output) = ("\(name)/input", "\(name)/output")
    graph.nodes = [
      .init(
        operation: "MatMulNBits", domain: "com.microsoft",
        inputs: [input] + graph.initializers.map(\.name), output: output,
        attributes: [
          "K": .integer(form.columns), "N": .integer(form.rows), "bits": .integer(form.bitWidth),
          "block_size": .integer(form.blockSize),
        ])
    ]
    let count = ONNXGraph.Port.Dimension.named("\(name)/count")
    graph.inputs = [
      .init(name: input, type: .float, dimensions: [count, .count(form.columns)])
    ]
    graph.outputs = [
      .init(name: output, type: .float, dimensions: [count, .count(form.rows)])
    ]
    var plan = PlannedTensor(
      form: "MatMulNBits, \(form.bitWidth) bits, blocks of \(form.blockSize)",
      pieces: [ONNXPiece(graph: graph, operatorSet: ONNXPiece.smallestOperatorSet)],
      byteCount: form.byteCount)
    plan.values = form.values(codes: try form.codes(of: tensor, parameters), parameters)
    if form.bitWidth > tensor.bitWidth {
      plan.changes.append("\(tensor.bitWidth)-bit codes are stored in \(form.bitWidth) bits")
    }
    return plan
  }
}

/// A matrix in the form of ONNX Runtime's `MatMulNBits`: `scale · code − scale · zero` for blocks
/// along a row, with a zero point that need not be an integer.
///
/// Rows of codes are whole blocks; codes past a row's end are 0 and never read, so no input needs
/// padding. The zero point is chosen so that its product with the scale rounds to the negated lower
/// bound. If every block has such a zero point, the values are those of the packed file in Float32.
///
/// Source: `com.microsoft.MatMulNBits`, version 1, and ONNX Runtime's CPU kernel for zero points in
/// Float32, which exists for 2 and 4 bits.
struct ONNXMatMulForm: Hashable, Sendable {
  /// A block's scale and zero point.
  struct Parameters: Hashable, Sendable {
    let scale: Float
    let zeroPoint: Float
    /// Whether all its codes represent the lower bound and are written as 0.
    let isConstant: Bool
  }

  /// The operator's bit width, which is wider than the packed file's if the operator lacks that.
  let bitWidth: Int
  let blockSize: Int
  let rows: Int
  let columns: Int

  static let bitWidths = [2, 4]
  static let blockSizes = [16, 32, 64, 128, 256]

  /// Chooses the form with the fewest bytes.
  ///
  /// - Throws: `ModelError` when the operator has no form for the tensor.
  init(_ tensor: QuantizedTensor) throws {
    let layout = tensor.layout
    guard tensor.shape.rank == 2 else {
      throw ModelError.unsupported("MatMulNBits multiplies by matrices, not \(tensor.shape)")
    }
    guard let bitWidth = Self.bitWidths.first(where: { $0 >= tensor.bitWidth }) else {
      throw ModelError.unsupported(
        "MatMulNBits has no \(tensor.bitWidth)-bit codes with a lower bound")
    }
    let forms = try Self.blockSizes.filter(layout.hasUniformBlocks).map { blockSize in
      _ = try layout.paddedColumns(toMultipleOf: blockSize)
      return Self(
        bitWidth: bitWidth, blockSize: blockSize, rows: layout.rows, columns: layout.columns)
    }
    // Among equals, the one with the fewest blocks.
    guard let best = forms.reversed().min(by: { $0.byteCount < $1.byteCount }) else {
      throw ModelError.unsupported(
        "bounds per \(layout.granularity) cannot be expressed in MatMulNBits's blocks of 16 to 256")
    }
    self = best
  }

  private init(bitWidth: Int, blockSize: Int, rows: Int, columns: Int) {
    self.bitWidth = bitWidth
    self.blockSize = blockSize
    self.rows = rows
    self.columns = columns
  }

  var blocksPerRow: Int { (columns - 1) / blockSize + 1 }
  var codeByteCount: Int { rows * blocksPerRow * blockSize / 8 * bitWidth }
  /// Codes, scales and zero points.
  var byteCount: Int { codeByteCount + rows * blocksPerRow * 2 * MemoryLayout<Float>.size }

  /// Returns the parameters of every block, row-major.
  ///
  /// - Throws: `ModelError` when a lower bound is too many scales away for Float32.
  func parameters(of tensor: QuantizedTensor) throws -> [Parameters] {
    try (0..<rows).flatMap { row in
      try (0..<blocksPerRow).map { block in
        let cell = tensor.layout.cellIndex(row: row, column: block * blockSize)
        return try Self.parameters(lower: tensor.lower[cell], scale: tensor.scale[cell])
      }
    }
  }

  static func parameters(lower: Float, scale: Float) throws -> Parameters {
    guard scale > 0 else {
      return Parameters(
        scale: abs(lower), zeroPoint: lower < 0 ? 1 : lower > 0 ? -1 : 0, isConstant: true)
    }
    let quotient = -lower / scale
    guard quotient.isFinite else {
      throw ModelError.unsupported(
        "the scale \(scale) is too small relative to the lower bound \(lower) for MatMulNBits")
    }
    let exact = [quotient, quotient.nextUp, quotient.nextDown].first { $0 * scale == -lower }
    return Parameters(scale: scale, zeroPoint: exact ?? quotient, isConstant: false)
  }

  /// Returns one byte per code, with each row padded to whole blocks.
  func codes(of tensor: QuantizedTensor, _ parameters: [Parameters]) throws -> [UInt8] {
    var codes = try tensor.unpackedCodes(paddingRowsTo: blocksPerRow * blockSize)
    for (block, parameter) in parameters.enumerated() where parameter.isConstant {
      let first = block * blockSize
      codes.replaceSubrange(
        first..<first + blockSize, with: repeatElement(0, count: blockSize))
    }
    return codes
  }

  /// Returns the matrix that the operator multiplies by, row-major.
  func values(codes: [UInt8], _ parameters: [Parameters]) -> [Float] {
    var values: [Float] = []
    values.reserveCapacity(rows * columns)
    for row in 0..<rows {
      for column in 0..<columns {
        let block = parameters[row * blocksPerRow + column / blockSize]
        let code = Float(codes[row * blocksPerRow * blockSize + column])
        let product = block.scale * code
        values.append(product - block.scale * block.zeroPoint)
      }
    }
    return values
  }
}
