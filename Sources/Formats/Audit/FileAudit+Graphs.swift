import Storage

/// ONNX graphs, whose operators may come from libraries and whose data may be elsewhere.
extension FileAudit {
  /// The domains whose operators ONNX Runtime implements itself, besides ONNX's own.
  private static let domains: Set<String> = [
    "", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview", "ai.onnx.preview.training",
    "com.microsoft", "com.microsoft.nchwc", "com.microsoft.experimental", "com.ms.internal.nhwc",
    "com.microsoft.extensions", "org.pytorch.aten",
  ]

  /// Operators of these domains that load or run something else.
  private static let operatorHazards = [
    "EPContext": "an operator that loads a program compiled for an accelerator",
    "PythonOp": "an operator that calls a Python function", "PyOp": "an operator that runs Python",
    "ExternalPyOp": "an operator that runs Python",
  ]

  /// The depth to which graphs inside the attributes of nodes are followed.
  static let graphDepthLimit = 16

  /// Audits the graphs and functions of an ONNX model.
  ///
  /// - Throws: `ModelError` if the content is not protobuf.
  mutating func auditGraph(_ content: Content) throws {
    let file = content.file
    var functions: [Range<Int>] = []
    var graphs: [Range<Int>] = []
    var own: Set<String> = []
    var fields = ProtobufFields(in: file, range: 0..<file.byteCount)
    while let field = try fields.next() {
      guard let range = field.delimitedRange else { continue }
      if field.number == ONNXModel.graphField { graphs.append(range) }
      if field.number == 25 {
        functions.append(range)
        own.insert(try Self.text(10, of: range, in: file))
      }
    }
    var operators: [String: Int] = [:]
    for range in graphs { try collect(range, 1, 5, content, own, 0, &operators) }
    for range in functions { try collect(range, 7, nil, content, own, 0, &operators) }
    for (name, count) in operators.sorted(by: { $0.key < $1.key }) {
      let hazard = Self.operatorHazards[String(name.split(separator: ".").last ?? "")]
      addProgram(
        .customOperator, name, place: content.place, hazard == nil ? .unknown : .dangerous,
        hazard ?? "an operator of a library that the program must load (\(counted(count, "node")))")
    }
  }

  /// Counts the custom operators of the message at `range`, by name.
  ///
  /// - Parameters:
  ///   - nodeField: the field that holds the message's nodes.
  ///   - tensorField: the field that holds its initializers.
  ///   - own: the domains of the functions that the model defines itself.
  private mutating func collect(
    _ range: Range<Int>, _ nodeField: Int, _ tensorField: Int?, _ content: Content,
    _ own: Set<String>, _ depth: Int, _ operators: inout [String: Int]
  ) throws {
    guard depth <= Self.graphDepthLimit else {
      addProblem(
        "graphs are nested more than \(Self.graphDepthLimit) deep", place: content.place)
      return
    }
    var fields = ProtobufFields(in: content.file, range: range)
    while let field = try fields.next() {
      guard let inner = field.delimitedRange else { continue }
      if field.number == tensorField { try auditLocation(inner, content) }
      guard field.number == nodeField else { continue }
      let domain = try Self.text(7, of: inner, in: content.file)
      let name = try Self.text(4, of: inner, in: content.file)
      if !Self.domains.contains(domain) && !own.contains(domain)
        || Self.operatorHazards[name] != nil
      {
        operators[domain.isEmpty ? name : "\(domain).\(name)", default: 0] += 1
      }
      var attributes = ProtobufFields(in: content.file, range: inner)
      while let attribute = try attributes.next() {
        guard attribute.number == 5, let range = attribute.delimitedRange else { continue }
        var parts = ProtobufFields(in: content.file, range: range)
        while let part = try parts.next() {
          // `g` and `graphs`; `t` and `tensors`.
          guard let range = part.delimitedRange else { continue }
          if [6, 11].contains(part.number) {
            try collect(range, 1, 5, content, own, depth + 1, &operators)
          } else if [5, 10].contains(part.number) {
            try auditLocation(range, content)
          }
        }
      }
    }
  }

  /// Reports external data outside the model's folder.
  private mutating func auditLocation(_ tensor: Range<Int>, _ content: Content) throws {
    var fields = ProtobufFields(in: content.file, range: tensor)
    while let field = try fields.next() {
      guard field.number == 13, let pair = field.delimitedRange,
        try Self.text(1, of: pair, in: content.file) == "location"
      else { continue }
      let location = try Self.text(2, of: pair, in: content.file)
      if (try? SiblingFiles(beside: content.file).path(of: location)) == nil {
        addProgram(
          .reference, location, place: content.place, .dangerous,
          "a file outside the model's folder that is read as a tensor")
      }
    }
  }

  /// Returns the text field `number` of the message at `range`, or an empty string if it is absent.
  private static func text(_ number: Int, of range: Range<Int>, in file: InputFile) throws -> String
  {
    var text = ""
    var fields = ProtobufFields(in: file, range: range)
    while let field = try fields.next() {
      guard field.number == number, let range = field.delimitedRange, range.count <= 4096 else {
        continue
      }
      let bytes = try file.bytes(at: range.lowerBound, count: range.count, purpose: "a text")
      text = String(decoding: bytes.array, as: UTF8.self)
    }
    return text
  }
}
