import OrderedCollections
import Storage

/// Writes an ONNX model that computes every weight: `DequantizeLinear` of the codes, then `Add` of
/// the lower bound, whose fraction no integer zero point can hold.
///
/// Only standard operators are used. Both round to Float32 as the packed file's reader does, and a
/// `Cast` to narrower or wider types follows, so every output is exact. Codes of 1 and 2 bits are
/// UINT2 (operator set 25), those of 3 and 4 bits UINT4 (21), and wider ones UINT8. Rows of any
/// length need no padding, because `block_size` allows a shorter last block.
struct ONNXExporter: ONNXGraphExporter {
  /// The first operator set with UINT2.
  static let operatorSetForTwoBits = 25

  func plan(
    _ name: String, _ tensor: QuantizedTensor, padsRows: Bool,
    load: @escaping @Sendable () throws -> QuantizedTensor
  ) throws -> PlannedTensor<ONNXPiece> {
    try plan(name, tensor, as: tensor.elementType, load: load)
  }

  /// - Parameter elementType: what the values are rounded to.
  fileprivate func plan(
    _ name: String, _ tensor: QuantizedTensor, as elementType: ElementType,
    load: @escaping @Sendable () throws -> QuantizedTensor
  ) throws -> PlannedTensor<ONNXPiece> {
    let layout = tensor.layout
    let (bitWidth, type, typeName): (Int, ONNXGraph.DataType, String) =
      switch tensor.bitWidth {
      case 1...2: (2, .uint2, "UINT2")
      case 3...4: (4, .uint4, "UINT4")
      default: (8, .uint8, "UINT8")
      }
    guard let codeByteCount = AffineSpec(layout: layout, bitWidth: bitWidth).codeByteCount else {
      throw ModelError.unsupported("it has too many elements")
    }
    var graph = ONNXGraph()
    graph.initializers.append(
      .init(
        "\(name)/codes", type, [layout.rows, layout.columns], byteCount: codeByteCount
      ) {
        let tensor = try load()
        guard tensor.bitWidth != bitWidth else { return tensor.codes }
        return BitStream.pack(try tensor.unpackedCodes(), bitWidth: bitWidth)
      })
    Self.append(parametersOf: tensor, name, to: &graph)
    try Self.append(conversionOf: tensor, name, as: elementType, to: &graph)
    graph.outputs = [
      .init(
        name: name, type: try ONNXGraph.DataType(elementType),
        dimensions: tensor.shape.dimensions)
    ]
    var plan = PlannedTensor(
      form: "\(typeName), \(graph.nodes.map(\.operation).joined(separator: ", "))",
      pieces: [ONNXPiece(graph: graph, operatorSet: tensor.operatorSetInONNX)],
      byteCount: graph.initializers.reduce(0) { $0 + $1.byteCount })
    if bitWidth > tensor.bitWidth {
      plan.changes.append("\(tensor.bitWidth)-bit codes are stored in \(bitWidth) bits")
    }
    return plan
  }

  /// Appends scales, lower bounds, and the nodes that apply them.
  private static func append(
    parametersOf tensor: QuantizedTensor, _ name: String, to graph: inout ONNXGraph
  ) {
    let layout = tensor.layout
    let (codes, scale, product) = ("\(name)/codes", "\(name)/scale", "\(name)/product")
    var lower = "\(name)/lower"
    switch layout.granularity {
    case .tensor where layout.parts == 1:
      graph.initializers += [
        .init(scale, .float, [], tensor.scale), .init(lower, .float, [], tensor.lower),
      ]
      graph.nodes.append(
        .init(operation: "DequantizeLinear", inputs: [codes, scale], output: product))
    case .tensor, .channel:
      let rows = layout.rows
      let cells = (0..<rows).map { layout.cellIndex(row: $0, column: 0) }
      graph.initializers += [
        .init(scale, .float, [rows], cells.map { tensor.scale[$0] }),
        .init(lower, .float, [rows, 1], cells.map { tensor.lower[$0] }),
      ]
      graph.nodes.append(
        .init(
          operation: "DequantizeLinear", inputs: [codes, scale], output: product,
          attributes: ["axis": .integer(0)]))
    case .group(let groupSize):
      // A group past the row's end is the whole row.
      let groupSize = min(groupSize, layout.columns)
      let groups = layout.cellCount / layout.rows
      graph.initializers += [
        .init(scale, .float, [layout.rows, groups], tensor.scale),
        .init(lower, .float, [layout.rows, groups], tensor.lower),
        .init(
          "\(name)/group", .int64, [layout.columns],
          (0..<layout.columns).map { Int64($0 / groupSize) }),
      ]
      graph.nodes += [
        .init(
          operation: "DequantizeLinear", inputs: [codes, scale], output: product,
          attributes: ["axis": .integer(1), "block_size": .integer(groupSize)]),
        .init(
          operation: "Gather", inputs: [lower, "\(name)/group"], output: "\(name)/bounds",
          attributes: ["axis": .integer(1)]),
      ]
      lower = "\(name)/bounds"
    }
    graph.nodes.append(
      .init(operation: "Add", inputs: [product, lower], output: "\(name)/sum"))
  }

  /// Appends the nodes from the Float32 matrix to the tensor; the last one has the tensor's name.
  private static func append(
    conversionOf tensor: QuantizedTensor, _ name: String, as elementType: ElementType,
    to graph: inout ONNXGraph
  ) throws {
    if tensor.shape.rank != 2 {
      let dimensions = tensor.shape.dimensions.map(Int64.init)
      graph.initializers.append(
        .init("\(name)/shape", .int64, [dimensions.count], dimensions))
      graph.nodes.append(
        .init(
          operation: "Reshape", inputs: ["\(name)/sum", "\(name)/shape"],
          output: "\(name)/reshaped"))
    }
    if elementType != .float32, let last = graph.nodes.last {
      graph.nodes.append(
        .init(
          operation: "Cast", inputs: [last.output], output: name,
          attributes: ["to": .integer(try ONNXGraph.DataType(elementType).number)]))
    } else if let last = graph.nodes.popLast() {
      graph.nodes.append(
        .init(
          operation: last.operation, inputs: last.inputs, output: name,
          attributes: last.attributes))
    }
  }
}

extension QuantizedTensor {
  /// The version of the operators that compute the tensor.
  package var operatorSetInONNX: Int {
    bitWidth <= 2 ? ONNXExporter.operatorSetForTwoBits : ONNXPiece.smallestOperatorSet
  }
}

extension ONNXGraph {
  /// Appends what computes a tensor's values from its codes, under its name, in Float32: as networks multiply
  /// them, before they are rounded to the type of the original tensor.
  ///
  /// - Returns: the form of the codes, and the bytes of the constants.
  /// - Throws: `ModelError` when ONNX has no form for the tensor.
  package mutating func append(
    _ name: String, _ tensor: QuantizedTensor,
    load: @escaping @Sendable () throws -> QuantizedTensor
  ) throws -> (form: String, byteCount: Int) {
    let plan = try ONNXExporter().plan(name, tensor, as: .float32, load: load)
    for piece in plan.pieces {
      initializers += piece.graph.initializers
      nodes += piece.graph.nodes
    }
    return (plan.form, plan.byteCount)
  }
}

/// The part of an ONNX model that holds one tensor.
struct ONNXPiece: Sendable {
  /// The version of the `ai.onnx` operators in models that need no later one.
  static let smallestOperatorSet = 21

  let graph: ONNXGraph
  let operatorSet: Int
}

/// Writes a packed model as one ONNX graph, whose outputs are named after the tensors.
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

  func output(_ pieces: [ONNXPiece], of description: ExportDescription) throws -> PlannedOutput {
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
    return PlannedOutput(try onnx.plan())
  }
}
