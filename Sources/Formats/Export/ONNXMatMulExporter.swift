/// An ONNX model of layers: a `MatMulNBits` for every quantized matrix, which multiplies its input by
/// the matrix as it is stored. The operator is ONNX Runtime's own.
///
/// A matrix `x` of `[rows, columns]` turns `x/input`, `[n, columns]`, into `x/output`, `[n, rows]`: the
/// input by the transposed matrix, as PyTorch's linear layers do without their bias.
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
          "K": form.columns, "N": form.rows, "bits": form.bitWidth, "block_size": form.blockSize,
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
      plan.changes.append("codes of \(tensor.bitWidth) bits take \(form.bitWidth)")
    }
    return plan
  }
}
