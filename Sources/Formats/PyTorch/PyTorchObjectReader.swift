import OrderedCollections

/// Turns the object graph of a checkpoint into tensors, values and containers.
struct PyTorchObjectReader {
  let graph: PickleGraph
  var records: PyTorchRecords
  private var tensors: OrderedDictionary<String, Tensor> = [:]
  private var values: OrderedDictionary<String, ArchiveValue> = [:]
  /// The containers around the object being read, outermost first.
  private var path: [PickleGraph.Reference] = []
  private var visitCount = 0
  private var nameByteCount = 0

  static let depthLimit = 100
  /// Shared containers are read once for each place they are in, which can multiply.
  static let visitLimit = 1 << 20
  static let nameByteLimit = 1 << 28

  init(graph: PickleGraph, records: PyTorchRecords) {
    self.graph = graph
    self.records = records
  }

  /// - Throws: `FormatError` naming the place in the checkpoint and in the pickle.
  mutating func read() throws -> TensorArchive {
    let structure = try structure(of: graph.root, named: "")
    return TensorArchive(tensors: tensors, values: values, structure: structure)
  }

  func node(_ reference: PickleGraph.Reference) -> PickleGraph.Node { graph.nodes[reference] }

  private mutating func structure(
    of reference: PickleGraph.Reference, named name: String
  ) throws -> ArchiveStructure {
    do {
      try enter(reference)
      defer { path.removeLast() }
      return try readObject(reference, named: name)
    } catch let error as FormatError {
      throw error.located(
        tensor: name.isEmpty ? nil : name, offset: graph.positions[reference])
    }
  }

  private mutating func enter(_ reference: PickleGraph.Reference) throws {
    guard path.count < Self.depthLimit else {
      throw FormatError(
        .limitExceeded(
          what: "the nesting of a checkpoint", limit: Self.depthLimit,
          found: path.contains(reference) ? "an object that contains itself" : "more"))
    }
    guard !path.contains(reference) else {
      throw FormatError.malformed("the checkpoint contains an object that contains itself")
    }
    visitCount += 1
    guard visitCount <= Self.visitLimit else {
      throw FormatError(
        .limitExceeded(
          what: "the number of objects in a checkpoint", limit: Self.visitLimit, found: "more"))
    }
    path.append(reference)
  }

  private mutating func readObject(
    _ reference: PickleGraph.Reference, named name: String
  ) throws -> ArchiveStructure {
    switch node(reference) {
    case .tuple(let items): return .tuple(try structures(of: items, named: name))
    case .list(let items): return .list(try structures(of: items, named: name))
    case .set(let items): return .set(try structures(of: items, named: name))
    case .dictionary(let items):
      return .dictionary(try entries(of: items, named: name), isOrdered: false)
    case .persistent:
      throw FormatError.unsupported("a storage outside a tensor is not supported")
    case .object(let object): return try readCall(object, reference, named: name)
    default: return try leaf(try value(of: reference), named: name)
    }
  }

  private mutating func structures(
    of items: [PickleGraph.Reference], named name: String
  ) throws -> [ArchiveStructure] {
    try items.enumerated().map { index, item in
      try structure(of: item, named: ArchiveStructure.join(name, "\(index)"))
    }
  }

  private mutating func entries(
    of items: [PickleGraph.Item], named name: String
  ) throws -> [ArchiveStructure.Entry] {
    try items.map { item in
      let key = try value(of: item.key)
      let component = ArchiveStructure.component(of: key)
      let child = try structure(of: item.value, named: ArchiveStructure.join(name, component))
      return ArchiveStructure.Entry(key: key, value: child)
    }
  }

  private mutating func readCall(
    _ object: PickleGraph.Object, _ reference: PickleGraph.Reference, named name: String
  ) throws -> ArchiveStructure {
    let callee = try self.callee(of: object)
    switch callee {
    case "collections.OrderedDict", "collections.Counter":
      guard object.elements.isEmpty else {
        throw FormatError.malformed("a pickled '\(callee)' is appended to")
      }
      // The state holds `_metadata`, the versions of the modules' layouts: not weights.
      if let state = object.state { try requireNoTensors(below: state) }
      let items = try initialItems(of: object) + object.items
      return .dictionary(
        try entries(of: items, named: name), isOrdered: callee == "collections.OrderedDict")
    case "builtins.set":
      try requirePlain(object)
      let arguments = try arguments(of: object)
      guard let members = arguments.first else { return .set([]) }
      guard arguments.count == 1, let items = sequence(members) else {
        throw FormatError.malformed("a pickled set is made of something that is no list")
      }
      return .set(try structures(of: items, named: name))
    case "torch.Size":
      try requirePlain(object)
      let arguments = try arguments(of: object)
      guard arguments.count == 1, let items = sequence(arguments[0]) else {
        throw FormatError.malformed("a pickled torch.Size is made of something that is no tuple")
      }
      return .tuple(try structures(of: items, named: name))
    default:
      if let tensor = try tensor(of: object) { return try leaf(tensor, named: name) }
      return try leaf(try value(of: reference), named: name)
    }
  }

  /// What a dictionary is made from: nothing, another dictionary, or pairs.
  private func initialItems(of object: PickleGraph.Object) throws -> [PickleGraph.Item] {
    let arguments = try arguments(of: object)
    guard let source = arguments.first else { return [] }
    if arguments.count == 1 {
      if case .dictionary(let items) = node(source) { return items }
      if let pairs = sequence(source) {
        let items = pairs.compactMap { pair -> PickleGraph.Item? in
          guard let parts = sequence(pair), parts.count == 2 else { return nil }
          return PickleGraph.Item(key: parts[0], value: parts[1])
        }
        if items.count == pairs.count { return items }
      }
    }
    throw FormatError.malformed("a pickled dictionary is made of something that is none")
  }

  // MARK: Leaves

  private mutating func leaf(_ value: ArchiveValue, named name: String) throws -> ArchiveStructure {
    let name = path.count == 1 ? "value" : name
    try claim(name)
    values[name] = value
    return .leaf(name)
  }

  private mutating func leaf(_ tensor: Tensor, named name: String) throws -> ArchiveStructure {
    let name = path.count == 1 ? "tensor" : name
    try claim(name)
    tensors[name] = tensor
    return .leaf(name)
  }

  private mutating func claim(_ name: String) throws {
    guard tensors[name] == nil, values[name] == nil else {
      throw FormatError.malformed("two objects of the checkpoint have this name", tensor: name)
    }
    nameByteCount += name.utf8.count
    guard nameByteCount <= Self.nameByteLimit else {
      throw FormatError(
        .limitExceeded(
          what: "the bytes of all names", limit: Self.nameByteLimit, found: "more"))
    }
  }
}
