import OrderedCollections
import Storage

/// ONNX models: their initializers, and the tensors in attributes of nodes.
///
/// Nodes themselves, inputs and outputs are not read, and a note says so. `ONNX.md` lists the
/// supported tensors and data locations.
package struct ONNXFormat: ReadOnlyModelFormat {
  package init() {}

  package var identifier: FormatIdentifier {
    FormatIdentifier(name: "onnx", displayName: "ONNX", fileExtensions: ["onnx"])
  }
  package var isFreeOfCode: Bool { true }

  /// Whether the fields up to the graph are those of a `ModelProto` that begins with a version;
  /// protobuf has no signature.
  package func recognizes(_ file: InputFile) -> Bool {
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
        // A file cut inside the graph is still recognized, so that reading reports the error.
        return hasVersion && fields.isCut(inside: ONNXModel.graphField)
      }
    }
  }

  package func read(_ file: InputFile) throws -> TensorArchive {
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
      archive.unread = model.nodeTensors.unread
      for entry in model.nodeTensors.entries { try add(entry, in: data, to: &archive) }
      archive.sourceFiles = try [file.path] + data.externalPaths(of: model.descriptions)
      archive.notes = model.notes
      return archive
    }
  }

  /// Adds a tensor of a node; branches may use one name for several tensors, of which the first is
  /// read.
  private func add(
    _ entry: ONNXNodeTensors.Entry, in data: ONNXTensorData, to archive: inout TensorArchive
  ) throws {
    let tensor = try locatingErrors(tensor: entry.name) {
      switch entry.content {
      case .message(let description): try description.tensor(in: data)
      case .numbers(let type, let shape, let bytes):
        try Tensor(elementType: type, shape: shape, bytes: bytes)
      }
    }
    guard archive.tensors[entry.name] != nil else {
      archive.tensors[entry.name] = tensor
      return
    }
    archive.unread.append(
      UnreadEntry(
        name: entry.name, kind: "\(tensor.elementType) \(tensor.shape)",
        reason: "another tensor of the model has this name"))
  }
}

/// The parts of a `ModelProto` that are read: its description, and the locations of its
/// initializers.
struct ONNXModel {
  static let versionField = 1
  static let graphField = 7
  static let functionsField = 25
  /// The fields of `ModelProto`, and whether each is a varint; the others are length-delimited.
  static let fields: [Int: Bool] = [
    1: true, 2: false, 3: false, 4: false, 5: true, 6: false, 7: false, 8: false, 14: false,
    20: false, 25: false, 26: false,
  ]
  static let initializerCountLimit = 1_000_000

  private(set) var initializers: [ONNXTensorDescription] = []
  private var description = ONNXModelDescription()
  private var graph = ONNXGraphDescription()
  private var nodeCount = 0
  /// The tensors in nodes.
  private(set) var nodeTensors: ONNXNodeTensors

  /// Reads the model.
  ///
  /// - Throws: `ModelError` if the file is not protobuf, and for sparse initializers.
  init(reading file: InputFile) throws {
    nodeTensors = ONNXNodeTensors(file: file)
    var graphs: [Range<Int>] = []
    var functions: [Range<Int>] = []
    var reader = ONNXFieldReader(file: file)
    var fields = ProtobufFields(in: file, range: 0..<file.byteCount)
    while let field = try fields.next() {
      if field.number == Self.graphField {
        graphs.append(try field.requireDelimited("the graph"))
      } else if field.number == Self.functionsField {
        functions.append(try field.requireDelimited("a function"))
      } else {
        try description.take(field, from: &reader)
      }
    }
    guard !graphs.isEmpty else { throw ModelError.malformed("the model has no graph") }
    // Protobuf does not mark its end; this detects most files that were cut after the graph.
    guard (description.irVersion ?? 0) < 3 || !description.opsetImport.isEmpty else {
      throw ModelError.malformed("the model imports no operator set; it may be truncated")
    }
    // Protobuf merges the occurrences of a singular message field.
    for range in graphs { try readGraph(file, range) }
    for range in functions { try readFunction(file, range) }
  }

  /// Finds the tensors in the nodes of a function.
  private mutating func readFunction(_ file: InputFile, _ range: Range<Int>) throws {
    var name = ""
    var nodes: [Range<Int>] = []
    var reader = ONNXFieldReader(file: file)
    var fields = ProtobufFields(in: file, range: range)
    while let field = try fields.next() {
      switch field.number {
      case 1: name = try reader.text(field)
      case 7: nodes.append(try field.requireDelimited("a node"))
      default: break
      }
    }
    for node in nodes { try nodeTensors.add(node: node, prefix: name) }
  }

  /// The descriptions of all tensors that are messages.
  var descriptions: [ONNXTensorDescription] {
    initializers
      + nodeTensors.entries.compactMap { entry in
        guard case .message(let description) = entry.content else { return nil }
        return description
      }
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
  /// The model's own fields, each under `onnx.` and its ONNX name.
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

  /// `metadata_props`; the last of equal keys wins.
  var metadata: OrderedDictionary<String, String> {
    var metadata: OrderedDictionary<String, String> = [:]
    for pair in description.metadataProps { metadata[pair.key] = pair.value }
    return metadata
  }

  var notes: [String] {
    var notes: [String] = []
    if nodeCount > 0 {
      notes.append(
        "only the tensors are read, not the graph of \(counted(nodeCount, "node"))")
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
  /// Returns the range of a length-delimited field.
  ///
  /// - Throws: `ModelError` when the field is a number.
  func requireDelimited(_ what: String) throws -> Range<Int> {
    guard let range = delimitedRange else {
      throw ModelError.malformed("\(what) is a number", offset: self.range.lowerBound)
    }
    return range
  }
}
