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
          throw FormatError.malformed(
            "an initializer has no name", offset: description.range.lowerBound)
        }
        guard archive.tensors[name] == nil else {
          throw FormatError.malformed("two initializers have this name", tensor: name)
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
