import Storage

/// Finds the tensors that are not initializers of the model's own graph: those in the attributes of
/// nodes, such as the values of `Constant` nodes, and all of the graphs inside these, such as the
/// branches of an `If` and the bodies of a `Loop` or `Scan`.
struct ONNXNodeTensors {
  /// A tensor, and the name that it gets.
  struct Entry {
    let name: String
    let content: Content
  }

  enum Content {
    case message(ONNXTensorDescription)
    /// The numbers of an attribute, which are little-endian bytes in memory.
    case numbers(ElementType, Shape, SharedBytes)
  }

  /// Graphs nested beyond this depth are not searched.
  static let depthLimit = 32

  private let file: InputFile
  /// In the order of the file.
  private(set) var entries: [Entry] = []
  /// What is not read, in the order of the file.
  private(set) var unread: [UnreadEntry] = []

  init(file: InputFile) { self.file = file }

  /// Adds the tensors in a node's attributes.
  ///
  /// - Parameters:
  ///   - prefix: the name of the enclosing graph; empty for the model's own.
  ///   - depth: the number of enclosing nodes.
  /// - Throws: `ModelError` if the range is not protobuf, and for invalid tensors.
  mutating func add(node range: Range<Int>, prefix: String = "", depth: Int = 0) throws {
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
    let isConstant = type == "Constant" && !output.isEmpty
    let node = Node(
      name: ArchiveStructure.join(prefix, name.isEmpty ? output : name), type: type,
      constant: isConstant ? ArchiveStructure.join(prefix, output) : nil)
    for attribute in attributes { try add(attribute: attribute, of: node, depth: depth) }
  }

  private struct Node {
    let name: String
    let type: String
    /// The name of the value that a `Constant` node makes.
    let constant: String?
  }

  private mutating func add(attribute range: Range<Int>, of node: Node, depth: Int) throws {
    var name = ""
    var tensors: [(range: Range<Int>, isSparse: Bool)] = []
    var graphs: [Range<Int>] = []
    var integers: [Int] = []
    var reals: [UInt8] = []
    var reader = ONNXFieldReader(file: file)
    var fields = ProtobufFields(in: file, range: range)
    while let field = try fields.next() {
      switch (field.number, field.content) {
      case (1, _): name = (try? reader.text(field)) ?? ""
      case (5, .delimited(let content)), (10, .delimited(let content)):
        tensors.append((content, false))
      case (22, .delimited(let content)), (23, .delimited(let content)):
        tensors.append((content, true))
      case (6, .delimited(let content)), (11, .delimited(let content)): graphs.append(content)
      case (2, _) where node.constant != nil, (7, _) where node.constant != nil:
        reals += try reader.floats(field)
      case (3, _) where node.constant != nil, (8, _) where node.constant != nil:
        integers += try reader.integers(field)
      default: break
      }
    }
    let full = ArchiveStructure.join(node.name, name)
    if let constant = node.constant {
      try add(numbersOf: name, as: constant, integers: integers, reals: reals)
    }
    for (index, tensor) in tensors.enumerated() {
      let own = node.constant ?? full
      let place = tensors.count == 1 ? own : "\(own).\(index)"
      if tensor.isSparse {
        leaveOut(sparse: place)
      } else {
        try add(tensor: tensor.range) { _ in place }
      }
    }
    for (index, graph) in graphs.enumerated() {
      try add(
        graph: graph, prefix: graphs.count == 1 ? full : "\(full).\(index)", of: node,
        depth: depth + 1)
    }
  }

  /// Adds the numbers that a `Constant` node has in place of a tensor.
  private mutating func add(
    numbersOf attribute: String, as name: String, integers: [Int], reals: [UInt8]
  ) throws {
    let (type, count): (ElementType, Int)
    switch attribute {
    case "value_int", "value_ints": (type, count) = (.int64, integers.count)
    case "value_float", "value_floats": (type, count) = (.float32, reals.count / 4)
    default: return
    }
    let isScalar = !attribute.hasSuffix("s")
    guard !isScalar || count == 1 else {
      throw ModelError.malformed("the attribute '\(attribute)' has no number", tensor: name)
    }
    try append(
      Entry(
        name: name,
        content: .numbers(
          type, isScalar ? .scalar : [count],
          type == .int64 ? SharedBytes(elementsOf: integers) : SharedBytes(reals))))
  }

  private mutating func add(graph range: Range<Int>, prefix: String, of node: Node, depth: Int)
    throws
  {
    guard depth <= Self.depthLimit else {
      unread.append(
        UnreadEntry(
          name: prefix, kind: "graph of a node \(node.type)",
          reason: "graphs that are nested more than \(Self.depthLimit) deep are not searched"))
      return
    }
    var fields = ProtobufFields(in: file, range: range)
    while let field = try fields.next() {
      guard let content = field.delimitedRange else { continue }
      switch field.number {
      case 1: try add(node: content, prefix: prefix, depth: depth)
      case 5: try add(tensor: content) { ArchiveStructure.join(prefix, $0) }
      case 15: leaveOut(sparse: prefix)
      default: break
      }
    }
  }

  private mutating func add(tensor range: Range<Int>, name: (String) -> String) throws {
    let description = try ONNXTensorDescription(reading: file, range: range)
    let name = name(description.name)
    guard let type = description.unreadableType else {
      return try append(Entry(name: name, content: .message(description)))
    }
    unread.append(
      UnreadEntry(
        name: name, kind: "\(type) \(description.shape)",
        reason: "elements of type \(type) cannot be read"))
  }

  private mutating func append(_ entry: Entry) throws {
    guard entries.count < ONNXModel.initializerCountLimit else {
      throw ModelError(
        .limitExceeded(
          what: "the number of tensors in nodes", limit: ONNXModel.initializerCountLimit,
          found: "more"))
    }
    entries.append(entry)
  }

  private mutating func leaveOut(sparse name: String) {
    unread.append(
      UnreadEntry(name: name, kind: "sparse tensor", reason: "sparse tensors are not read"))
  }
}
