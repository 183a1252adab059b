import OrderedCollections
import Storage

/// Plans a graph as an ONNX model.
///
/// Field numbers are those of `onnx.proto` (ONNX 1.23), and fields are in their order, so the bytes
/// are those that the `onnx` package writes.
package struct ONNXWriter {
  /// The limit of a Protobuf message, and thus of a model that contains its weights.
  static let byteCountLimit = Int(Int32.max)

  let graph: ONNXGraph
  /// The version of the `ai.onnx` operators; other domains have version 1.
  let operatorSet: Int
  let metadata: OrderedDictionary<String, String>

  /// - Throws: `ModelError` when two values of the graph have the same name, or one has none.
  package init(_ graph: ONNXGraph, operatorSet: Int, metadata: OrderedDictionary<String, String>)
    throws
  {
    var names: Set<String> = []
    for name in graph.inputs.map(\.name) + graph.initializers.map(\.name)
      + graph.nodes.map(\.output)
    {
      guard names.insert(name).inserted else {
        throw ModelError.unsupported("two tensors would have this name", tensor: name)
      }
      guard !name.isEmpty else {
        throw ModelError.unsupported("ONNX tensors must have names, but one has none")
      }
    }
    self.graph = graph
    self.operatorSet = operatorSet
    self.metadata = metadata
  }

  /// The first version of ONNX's file format that knows the operators.
  private var version: Int { operatorSet >= 25 ? 13 : operatorSet >= 21 ? 10 : 8 }

  /// Plans the file: every initializer's `raw_data` is a record; the messages around them are gaps.
  package func plan() throws -> PlannedFile<Never> {
    let heads = graph.initializers.map(Self.head)
    let (before, after, end) = (graphUpToInitializers, graphAfterInitializers, modelAfterGraph)
    var graphByteCount = before.bytes.count + after.bytes.count
    for (head, initializer) in zip(heads, graph.initializers) {
      graphByteCount += head.bytes.count
      // The previous sum was checked, so this one cannot overflow.
      guard initializer.byteCount <= Self.byteCountLimit - graphByteCount else {
        throw Self.limitExceeded(by: initializer.name)
      }
      graphByteCount += initializer.byteCount
    }
    var model = modelUpToGraph
    model.appendHead(7, byteCount: graphByteCount)
    let byteCount = model.bytes.count + graphByteCount + end.bytes.count
    guard byteCount <= Self.byteCountLimit else { throw Self.limitExceeded(by: nil) }
    var gap = model.bytes + before.bytes
    var position = 0
    var pieces: [FilePiece] = []
    var records: [PlannedRecord<Never>] = []
    for (head, initializer) in zip(heads, graph.initializers) {
      gap += head.bytes
      pieces.append(FilePiece(offset: position, bytes: SharedBytes(gap)))
      position += gap.count
      records.append(
        PlannedRecord(
          name: initializer.name, names: [initializer.name], offset: position,
          byteCount: initializer.byteCount, sourceByteCount: initializer.byteCount
        ) { MadeRecord(try initializer.load()) })
      position += initializer.byteCount
      gap = []
    }
    pieces.append(
      FilePiece(offset: position, bytes: SharedBytes(gap + after.bytes + end.bytes)))
    return PlannedFile(records, knownByteCount: byteCount) { [pieces] _ in pieces }
  }

  private static func limitExceeded(by tensor: String?) -> ModelError {
    ModelError(
      .limitExceeded(what: "an ONNX model in bytes", limit: byteCountLimit, found: "more"),
      tensor: tensor)
  }

  /// The `ModelProto` up to its graph.
  private var modelUpToGraph: ProtobufEncoder {
    var model = ProtobufEncoder()
    model.append(1, integer: version)
    model.append(2, text: "condi-convert")
    model.append(3, text: Producer.version)
    return model
  }

  private var modelAfterGraph: ProtobufEncoder {
    var model = ProtobufEncoder()
    var versions = [("", operatorSet)]
    versions += Set(graph.nodes.map(\.domain)).subtracting([""]).sorted().map { ($0, 1) }
    for (domain, version) in versions {
      var operators = ProtobufEncoder()
      operators.append(1, text: domain)
      operators.append(2, integer: version)
      model.append(8, message: operators)
    }
    for (key, text) in metadata {
      var pair = ProtobufEncoder()
      pair.append(1, text: key)
      pair.append(2, text: text)
      model.append(14, message: pair)
    }
    return model
  }

  /// Returns the field of `GraphProto` that holds an initializer, up to its `raw_data`, which comes
  /// last.
  private static func head(of initializer: ONNXGraph.Initializer) -> ProtobufEncoder {
    var tensor = ProtobufEncoder()
    for dimension in initializer.dimensions { tensor.append(1, integer: dimension) }
    tensor.append(2, integer: initializer.type.number)
    tensor.append(8, text: initializer.name)
    tensor.appendHead(9, byteCount: initializer.byteCount)
    var field = ProtobufEncoder()
    field.appendHead(5, byteCount: tensor.bytes.count + initializer.byteCount)
    field.append(tensor)
    return field
  }

  private var graphUpToInitializers: ProtobufEncoder {
    var message = ProtobufEncoder()
    for node in graph.nodes { message.append(1, message: Self.message(node)) }
    message.append(2, text: graph.name)
    return message
  }

  private var graphAfterInitializers: ProtobufEncoder {
    var message = ProtobufEncoder()
    for input in graph.inputs { message.append(11, message: Self.message(input)) }
    for output in graph.outputs { message.append(12, message: Self.message(output)) }
    return message
  }

  private static func message(_ node: ONNXGraph.Node) -> ProtobufEncoder {
    var message = ProtobufEncoder()
    for input in node.inputs { message.append(1, text: input) }
    message.append(2, text: node.output)
    message.append(3, text: node.output)
    message.append(4, text: node.operation)
    for (name, value) in node.attributes.sorted(by: { $0.key < $1.key }) {
      var attribute = ProtobufEncoder()
      attribute.append(1, text: name)
      // The numbers of the fields, and of the types in `AttributeProto.AttributeType`.
      switch value {
      case .float(let number):
        attribute.append(2, float: number)
        attribute.append(20, integer: 1)
      case .integer(let number):
        attribute.append(3, integer: number)
        attribute.append(20, integer: 2)
      case .text(let text):
        attribute.append(4, text: text)
        attribute.append(20, integer: 3)
      case .integers(let numbers):
        for number in numbers { attribute.append(8, integer: number) }
        attribute.append(20, integer: 7)
      }
      message.append(5, message: attribute)
    }
    if !node.domain.isEmpty { message.append(7, text: node.domain) }
    return message
  }

  /// Returns a `ValueInfoProto` with a tensor type.
  private static func message(_ port: ONNXGraph.Port) -> ProtobufEncoder {
    var shape = ProtobufEncoder()
    for dimension in port.dimensions {
      var message = ProtobufEncoder()
      switch dimension {
      case .count(let count): message.append(1, integer: count)
      case .named(let name): message.append(2, text: name)
      }
      shape.append(1, message: message)
    }
    var tensor = ProtobufEncoder()
    tensor.append(1, integer: port.type.number)
    tensor.append(2, message: shape)
    var type = ProtobufEncoder()
    type.append(1, message: tensor)
    var message = ProtobufEncoder()
    message.append(1, text: port.name)
    message.append(2, message: type)
    return message
  }
}
