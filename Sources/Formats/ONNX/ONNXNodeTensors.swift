/// Lists the tensors of a graph that are no initializers of the model: those in the attributes of its
/// nodes, and all of the graphs inside these, such as the branches of an `If`.
struct ONNXNodeTensors {
  /// Graphs within graphs beyond this depth are not looked into.
  static let depthLimit = 32
  /// More than any model has.
  static let countLimit = 100_000

  private let file: InputFile
  /// In the order of the file.
  private(set) var entries: [UnreadEntry] = []
  /// All of them, listed or not.
  private(set) var count = 0

  init(file: InputFile) { self.file = file }

  /// - Parameter place: the names of the graphs around the node, and what they are in.
  /// - Throws: `FormatError` for what is no protobuf.
  mutating func add(node range: Range<Int>, place: Place = Place()) throws {
    var (name, type, output) = ("", "", "")
    var attributes: [Range<Int>] = []
    var reader = ONNXFieldReader(file: file)
    var fields = ProtobufFields(in: file, range: range)
    while let field = try fields.next() {
      switch field.number {
      case 2 where output.isEmpty: output = (try? reader.text(field)) ?? ""
      case 3: name = (try? reader.text(field)) ?? ""
      case 4: type = (try? reader.text(field)) ?? ""
      case 5: if let attribute = field.delimitedRange { attributes.append(attribute) }
      default: break
      }
    }
    let node = Node(name: name.isEmpty ? output : name, type: type)
    for attribute in attributes { try add(attribute: attribute, of: node, place: place) }
  }

  /// Where a node is, in words and in the names of entries.
  struct Place {
    var prefix = ""
    var words = ""
    var depth = 0
  }

  private struct Node {
    let name: String
    let type: String
  }

  private mutating func add(attribute range: Range<Int>, of node: Node, place: Place) throws {
    var name = ""
    var tensors: [(range: Range<Int>, isSparse: Bool)] = []
    var graphs: [Range<Int>] = []
    var reader = ONNXFieldReader(file: file)
    var fields = ProtobufFields(in: file, range: range)
    while let field = try fields.next() {
      guard let content = field.delimitedRange else { continue }
      switch field.number {
      case 1: name = (try? reader.text(field)) ?? ""
      case 5, 10: tensors.append((content, false))
      case 22, 23: tensors.append((content, true))
      case 6, 11: graphs.append(content)
      default: break
      }
    }
    let full = ArchiveStructure.join(place.prefix, ArchiveStructure.join(node.name, name))
    for (index, tensor) in tensors.enumerated() {
      list(
        tensor.range, as: tensors.count == 1 ? full : "\(full).\(index)",
        isSparse: tensor.isSparse,
        because: "it is the attribute '\(name)' of a node \(node.type)\(place.words)")
    }
    for (index, graph) in graphs.enumerated() {
      try add(
        graph: graph,
        place: Place(
          prefix: graphs.count == 1 ? full : "\(full).\(index)",
          words: " in '\(name)' of a node \(node.type)", depth: place.depth + 1))
    }
  }

  private mutating func add(graph range: Range<Int>, place: Place) throws {
    guard place.depth <= Self.depthLimit else { return }
    var fields = ProtobufFields(in: file, range: range)
    while let field = try fields.next() {
      guard let content = field.delimitedRange else { continue }
      switch field.number {
      case 1: try add(node: content, place: place)
      case 5, 15:
        list(
          content, as: place.prefix, isSparse: field.number == 15, isInitializer: true,
          because: "it is an initializer\(place.words)")
      default: break
      }
    }
  }

  private mutating func list(
    _ range: Range<Int>, as name: String, isSparse: Bool, isInitializer: Bool = false,
    because reason: String
  ) {
    count += 1
    guard entries.count < Self.countLimit else { return }
    let tensor = isSparse ? nil : try? ONNXTensorDescription(reading: file, range: range)
    let kind =
      tensor.map { "\($0.type.elementType?.rawValue ?? $0.type.name) \($0.shape)" }
      ?? (isSparse ? "sparse tensor" : "tensor")
    entries.append(
      UnreadEntry(
        name: isInitializer ? ArchiveStructure.join(name, tensor?.name ?? "") : name, kind: kind,
        reason: "\(reason), and only the model's own initializers are read"))
  }
}
