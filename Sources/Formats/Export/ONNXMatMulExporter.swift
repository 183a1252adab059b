import Storage

/// Writes an ONNX model of layers, with one `MatMulNBits` per quantized matrix, which multiplies
/// its input by the stored matrix. The operator is ONNX Runtime's own.
///
/// A matrix `x` of `[rows, columns]` turns `x/input`, `[n, columns]`, into `x/output`, `[n, rows]`:
/// it multiplies the input by the transposed matrix, as a PyTorch linear layer without bias does.
struct ONNXMatMulExporter: ONNXGraphExporter {
  /// Whether to round zero points that are not integers.
  var roundsZeroPoints = false
  /// Whether the runtime may round a layer's inputs to int8.
  var roundsInputs = false

  func plan(
    _ name: String, _ tensor: QuantizedTensor, padsRows: Bool,
    load: @escaping @Sendable () throws -> QuantizedTensor
  ) throws -> PlannedTensor<ONNXPiece> {
    let form = try ONNXMatMulForm(
      tensor, roundsZeroPoints: roundsZeroPoints, prefersIntegers: roundsInputs)
    let parameters = try form.parameters(of: tensor)
    let blocks = [form.rows, form.blocksPerRow]
    let zero = "\(name)/zero"
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
      form.zeroPoints == .integer
        ? .init(zero, .uint8, [form.rows, form.zeroBytesPerRow], form.packedZeroPoints(parameters))
        : .init(zero, .float, blocks, parameters.map(\.zeroPoint)),
    ]
    var attributes: [String: ONNXGraph.Attribute] = [
      "K": .integer(form.columns), "N": .integer(form.rows), "bits": .integer(form.bitWidth),
      "block_size": .integer(form.blockSize),
    ]
    let roundsInputs = roundsInputs && form.zeroPoints == .integer
    if roundsInputs { attributes["accuracy_level"] = .integer(4) }
    let (input, output) = ("\(name)/input", "\(name)/output")
    graph.nodes = [
      .init(
        operation: "MatMulNBits", domain: "com.microsoft",
        inputs: [input] + graph.initializers.map(\.name), output: output, attributes: attributes)
    ]
    let count = ONNXGraph.Port.Dimension.named("\(name)/count")
    graph.inputs = [
      .init(name: input, type: .float, dimensions: [count, .count(form.columns)])
    ]
    graph.outputs = [
      .init(name: output, type: .float, dimensions: [count, .count(form.rows)])
    ]
    var plan = PlannedTensor(
      form: "MatMulNBits, \(form.bitWidth) bits, blocks of \(form.blockSize)"
        + (form.zeroPoints == .integer ? ", integer zeros" : "")
        + (roundsInputs ? ", int8 inputs" : ""),
      pieces: [ONNXPiece(graph: graph, operatorSet: ONNXPiece.smallestOperatorSet)],
      byteCount: form.byteCount)
    plan.values = form.values(codes: try form.codes(of: tensor, parameters), parameters)
    if form.bitWidth > tensor.bitWidth {
      plan.changes.append("\(tensor.bitWidth)-bit codes are stored in \(form.bitWidth) bits")
    }
    if roundsZeroPoints, !roundsInputs, form.zeroPoints == .integer, form.bitWidth == 2 {
      plan.changes.append("2-bit codes with integer zero points are slow without int8 inputs")
    }
    if roundsZeroPoints, form.zeroPoints == .float {
      plan.changes.append(
        "zero points are kept in float32, as not all round to one from 0 to "
          + "\(form.largestCode) in blocks that fast kernels take")
    }
    return plan
  }
}
