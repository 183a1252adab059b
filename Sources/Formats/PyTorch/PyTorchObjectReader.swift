import OrderedCollections

/// Turns the object graph of a checkpoint into tensors, values and containers.
///
/// Objects of other classes than those of data are opaque: their attributes and items are read as
/// plain data, and a note says so.
struct PyTorchObjectReader {
  let graph: PickleGraph
  var storages: any PyTorchStorageSource
  var notes = PyTorchNotes()
  /// Storages that lie inside the pickle, by the call that opens them.
  var nestedStorages: [PickleGraph.Reference: PyTorchNestedStorage] = [:]
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

  init(graph: PickleGraph, storages: any PyTorchStorageSource) {
    self.graph = graph
    self.storages = storages
  }

  /// - Throws: `FormatError` naming the place in the checkpoint and in the pickle.
  mutating func read() throws -> TensorArchive {
    let structure = try structure(of: graph.root, named: "")
    return archive(of: structure)
  }

  /// What has been read so far.
  func archive(of structure: ArchiveStructure) -> TensorArchive {
    TensorArchive(tensors: tensors, values: values, structure: structure, notes: notes.sentences)
  }

  func node(_ reference: PickleGraph.Reference) -> PickleGraph.Node { graph.nodes[reference] }

  mutating func structure(
    of reference: PickleGraph.Reference, named name: String
  ) throws -> ArchiveStructure {
    do {
      if isCycleOfObjects(reference) {
        notes.addCycle(name)
        return .dictionary([], isOrdered: false)
      }
      try enter(reference)
      defer { path.removeLast() }
      return try readObject(reference, named: name)
    } catch let error as FormatError {
      throw error.located(
        tensor: name.isEmpty ? nil : name, offset: graph.positions[reference])
    }
  }

  /// Objects may refer to what they belong to, as no plain data do.
  private func isCycleOfObjects(_ reference: PickleGraph.Reference) -> Bool {
    guard let start = path.firstIndex(of: reference) else { return false }
    return path[start...].contains { ancestor in
      guard case .object(let object) = node(ancestor) else { return false }
      return object.state != nil
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
    case .persistent: return try leaf(try storageAsTensor(reference), named: name)
    case .object(let object): return try readCall(object, reference, named: name)
    default: return try leaf(try value(of: reference), named: name)
    }
  }

  mutating func structures(
    of items: [PickleGraph.Reference], named name: String
  ) throws -> [ArchiveStructure] {
    try items.enumerated().map { index, item in
      try structure(of: item, named: ArchiveStructure.join(name, "\(index)"))
    }
  }

  mutating func entries(
    of items: [PickleGraph.Item], named name: String
  ) throws -> [ArchiveStructure.Entry] {
    try items.map { item in
      let key = try self.key(of: item.key)
      let component = ArchiveStructure.component(of: key)
      let child = try structure(of: item.value, named: ArchiveStructure.join(name, component))
      return ArchiveStructure.Entry(key: key, value: child)
    }
  }

  // MARK: Leaves

  mutating func leaf(_ value: ArchiveValue, named name: String) throws -> ArchiveStructure {
    let name = name.isEmpty && path.count == 1 ? "value" : name
    try claim(name)
    values[name] = value
    return .leaf(name)
  }

  mutating func leaf(_ tensor: Tensor, named name: String) throws -> ArchiveStructure {
    let name = name.isEmpty && path.count == 1 ? "tensor" : name
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
