/// What one tensor adds to an ONNX model.
struct ONNXPiece: Sendable {
  /// The version of the `ai.onnx` operators of models that need no later one.
  static let smallestOperatorSet = 21

  let graph: ONNXGraph
  let operatorSet: Int
}

/// Writes packed models as one ONNX graph, whose outputs have the tensors' names or begin with them.
protocol ONNXGraphExporter: ModelExporter where Piece == ONNXPiece {}

extension ONNXGraphExporter {
  func plan(_ name: String, keeping tensor: Tensor) throws -> PlannedTensor<ONNXPiece> {
    let type = try ONNXGraph.DataType(tensor.elementType)
    var graph = ONNXGraph()
    graph.initializers.append(
      .init(name, type, tensor.shape.dimensions, byteCount: tensor.byteCount) {
        try tensor.bytes()
      })
    graph.outputs = [.init(name: name, type: type, dimensions: tensor.shape.dimensions)]
    return PlannedTensor(
      form: tensor.elementType.rawValue,
      pieces: [ONNXPiece(graph: graph, operatorSet: ONNXPiece.smallestOperatorSet)],
      byteCount: tensor.byteCount)
  }

  func write(
    _ pieces: [ONNXPiece], of description: ExportDescription, to path: String,
    replacesExisting: Bool, progress: WriteProgress?
  ) throws -> [ExportOutcome.File] {
    var graph = ONNXGraph()
    for piece in pieces {
      graph.initializers += piece.graph.initializers
      graph.nodes += piece.graph.nodes
      graph.inputs += piece.graph.inputs
      graph.outputs += piece.graph.outputs
    }
    let onnx = try ONNXWriter(
      graph, operatorSet: pieces.map(\.operatorSet).max() ?? ONNXPiece.smallestOperatorSet,
      metadata: try description.textsWithValues())
    var writer = try AtomicFileWriter(path: path, replacesExisting: replacesExisting)
    try locatingErrors(path: path) { try onnx.write(to: &writer, progress: progress) }
    let byteCount = writer.byteCount
    try writer.finish()
    return [ExportOutcome.File(path: path, byteCount: byteCount)]
  }
}
