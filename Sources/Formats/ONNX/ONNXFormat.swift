import OrderedCollections
import Storage

/// ONNX models: their initializers, which are the weights.
///
/// Nodes, inputs, outputs and functions are not read, which is noted; tensors in nodes are listed as
/// left out. `ONNX.md` says which tensors
/// and places of data are supported.
public struct ONNXFormat: ReadOnlyModelFormat {
  public init() {}

  public var identifier: FormatIdentifier {
    FormatIdentifier(name: "onnx", displayName: "ONNX", fileExtensions: ["onnx"])
  }

  /// Protobuf has no signature: whether the fields are those of a `ModelProto` that begins with a
  /// version, up to the graph.
  public func recognizes(_ file: InputFile) -> Bool {
    var fields = ProtobufFields(in: file, range: 0..<file.byteCount)
    var hasVersion = false
    while true {
      do {
        guard let field = try fields.next() else { return false }
        guard let isVarint = ONNXModel.fields[field.number] else { return false }
        if case .varint = field.content, isVarint {
          hasVersion = hasVersion || field.number == ONNXModel.versionField
        } else if field.delimitedRange == nil || isVarint {
          return false
        }
        if hasVersion, field.number == ONNXModel.graphField { return true }
      } catch {
        // A file cut inside the graph is still recognized, so that reading says what is wrong.
        return hasVersion && fields.isCut(inside: ONNXModel.graphField)
      }
    }
  }

  public func read(_ file: InputFile) throws -> TensorArchive {
    try locatingErrors(path: file.path) {
      let model = try ONNXModel(reading: file)
      var archive = TensorArchive(
        format: identifier, values: model.values, metadata: model.metadata)
      let data = ONNXTensorData(file: file)
      for description in model.initializers {
        let name = description.name
        guard !name.isEmpty else {
          throw ModelError.malformed(
            "an initializer has no name", offset: description.range.lowerBound)
        }
        guard archive.tensors[name] == nil else {
          throw ModelError.malformed("two initializers have this name", tensor: name)
        }
        archive.tensors[name] = try locatingErrors(tensor: name) {
          try description.tensor(in: data)
        }
      }
      archive.sourceFiles = try [file.path] + data.externalPaths(of: model.initializers)
      archive.notes = model.notes
      archive.unread = model.nodeTensors.entries
      return archive
    }
  }
}

/// What is read of a `ModelProto`: its description, and where its initializers lie.
struct ONNXModel {
  static let versionField = 1
  static let graphField = 7
  /// The fields of `ModelProto`, and which of them are varints; the others have a length.
  static let fields: [Int: Bool] = [
    1: true, 2: false, 3: false, 4: false, 5: true, 6: false, 7: false, 8: false, 14: false,
    20: false, 25: false, 26: false,
  ]
  static let initializerCountLimit = 1_000_000

  private(set) var initializers: [ONNXTensorDescription] = []
  private var description = ONNXModelDescription()
  private var graph = ONNXGraphDescription()
  private var nodeCount = 0
  /// What the nodes hold.
  private(set) var nodeTensors: ONNXNodeTensors

  /// - Throws: `ModelError` for what is no protobuf, and for sparse initializers.
  init(reading file: InputFile) throws {
    nodeTensors = ONNXNodeTensors(file: file)
    var graphs: [Range<Int>] = []
    var reader = ONNXFieldReader(file: file)
    var fields = ProtobufFields(in: file, range: 0..<file.byteCount)
    while let field = try fields.next() {
      if field.number == Self.graphField {
        graphs.append(try field.requireDelimited("the graph"))
      } else {
        try description.take(field, from: &reader)
      }
    }
    guard !graphs.isEmpty else { throw ModelError.malformed("the model has no graph") }
    // Protobuf does not mark the end: this finds most files that were cut after the graph.
    guard (description.irVersion ?? 0) < 3 || !description.opsetImport.isEmpty else {
      throw ModelError.malformed("the model imports no operator set; it may be cut")
    }
    // Protobuf merges a message that occurs twice.
    for range in graphs { try readGraph(file, range) }
  }

  private mutating func readGraph(_ file: InputFile, _ range: Range<Int>) throws {
    var reader = ONNXFieldReader(file: file)
    var fields = ProtobufFields(in: file, range: range)
    while let field = try fields.next() {
      switch field.number {
      case 1:
        nodeCount += 1
        try nodeTensors.add(node: try field.requireDelimited("a node"))
      case 5:
        guard initializers.count < Self.initializerCountLimit else {
          throw ModelError(
            .limitExceeded(
              what: "the number of initializers", limit: Self.initializerCountLimit,
              found: "more"), offset: field.range.lowerBound)
        }
        let tensor = try field.requireDelimited("an initializer")
        initializers.append(try ONNXTensorDescription(reading: file, range: tensor))
      case 15: throw try Self.sparseError(file, try field.requireDelimited("an initializer"))
      default: try graph.take(field, from: &reader)
      }
    }
  }

  private static func sparseError(_ file: InputFile, _ range: Range<Int>) throws -> ModelError {
    var name: String?
    var fields = ProtobufFields(in: file, range: range)
    while let field = try fields.next() {
      guard field.number == 1, let values = field.delimitedRange else { continue }
      name = try ONNXTensorDescription(reading: file, range: values).name
    }
    return ModelError.unsupported(
      "sparse initializers are not supported", tensor: name, offset: range.lowerBound)
  }
}

extension ONNXModel {
  /// The model's own fields, each under `onnx.` and ONNX's name for it.
  var values: OrderedDictionary<String, ArchiveValue> {
    var values: OrderedDictionary<String, ArchiveValue> = [:]
    if let version = description.irVersion { values["onnx.ir_version"] = .integer(version) }
    for opset in description.opsetImport {
      let domain = opset.domain.isEmpty ? "ai.onnx" : opset.domain
      values["onnx.opset_import.\(domain)"] = .integer(opset.version)
    }
    if let version = description.modelVersion { values["onnx.model_version"] = .integer(version) }
    let texts = [
      ("producer_name", description.producerName),
      ("producer_version", description.producerVersion), ("domain", description.domain),
      ("doc_string", description.docString), ("graph.name", graph.name),
      ("graph.doc_string", graph.docString),
    ]
    for (name, text) in texts where !text.isEmpty { values["onnx.\(name)"] = .text(text) }
    return values
  }

  /// `metadata_props`; the last of equal keys counts.
  var metadata: OrderedDictionary<String, String> {
    var metadata: OrderedDictionary<String, String> = [:]
    for pair in description.metadataProps { metadata[pair.key] = pair.value }
    return metadata
  }

  var notes: [String] {
    var notes: [String] = []
    if nodeCount > 0 {
      notes.append(
        "only the initializers are read, not the graph of \(counted(nodeCount, "node"))"
          + (nodeTensors.count > 0
            ? " and \(counted(nodeTensors.count, "tensor")) in its attributes" : ""))
    }
    let unreadable = initializers.filter { $0.unreadableType != nil }
    if !unreadable.isEmpty {
      let types = Set(unreadable.compactMap(\.unreadableType)).sorted().joined(separator: ", ")
      notes.append(
        "\(unreadable.count) of \(counted(initializers.count, "initializer")) have types that cannot be "
          + "read: \(types)")
    }
    return notes
  }
}

extension ProtobufFields.Field {
  /// - Throws: `ModelError` when the field is a number.
  func requireDelimited(_ what: String) throws -> Range<Int> {
    guard let range = delimitedRange else {
      throw ModelError.malformed("\(what) is a number", offset: self.range.lowerBound)
    }
    return range
  }
}
