import OrderedCollections

/// Turns the object graph of a checkpoint into tensors, values and containers.
///
/// Objects of other classes than those of data are opaque: their attributes and items are read as
/// plain data, and a note says so.
struct PyTorchObjectReader {
  let graph: PickleGraph
  var storages: any PyTorchStorageSource
  var notes = PyTorchNotes()
  /// What could not be read.
  private(set) var unread: [UnreadEntry] = []
  /// Dictionaries that a module gave as its whole state, by their place.
  var stateDictionaries: Set<String> = []
  /// Attributes of the tensor just read that hold tensors, for the container around it.
  private var attachments: [Attachment] = []
  /// What a dictionary, a list or a set holds, once somebody asked.
  private var heldReferences: Set<PickleGraph.Reference>?
  /// Steps that `holdsTensors` may still take: what is shared is looked through once for each place.
  var searchBudget = 1 << 24
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
  /// - Parameter name: stands before all names; empty for the object as the whole content of a file.
  mutating func read(named name: String = "") throws -> TensorArchive {
    let structure = try structure(of: graph.root, named: name)
    leaveOutAttachments(of: name)
    return archive(of: structure)
  }

  /// What has been read so far.
  func archive(of structure: ArchiveStructure) -> TensorArchive {
    var archive = TensorArchive(
      tensors: tensors, values: values, structure: structure, notes: notes.sentences)
    archive.unread = unread
    archive.stateDictionaries = stateDictionaries
    return archive
  }

  func node(_ reference: PickleGraph.Reference) -> PickleGraph.Node { graph.nodes[reference] }

  mutating func structure(
    of reference: PickleGraph.Reference, named name: String
  ) throws -> ArchiveStructure {
    let (tensorCount, valueCount) = (tensors.count, values.count)
    do {
      if isCycleOfObjects(reference) {
        notes.addCycle(name)
        return .dictionary([], isOrdered: false)
      }
      try enter(reference)
      defer { path.removeLast() }
      return try readObject(reference, named: name)
    } catch let error as FormatError {
      guard case .unsupported(let reason) = error.problem else {
        throw error.located(
          tensor: name.isEmpty ? nil : name, offset: graph.positions[reference])
      }
      // Parts that were read before the obstacle was met.
      tensors.removeLast(tensors.count - tensorCount)
      values.removeLast(values.count - valueCount)
      return leaveOut(reference, named: name, because: reason)
    }
  }

  /// Lists what is at `reference` as left out.
  mutating func leaveOut(
    _ reference: PickleGraph.Reference, named name: String, because reason: String
  ) -> ArchiveStructure {
    attachments = []
    let name = name.isEmpty ? "tensor" : name
    unread.append(UnreadEntry(name: name, kind: kind(of: reference), reason: reason))
    return .unread(name)
  }

  /// Whether the object at `reference` is read anyhow: it is one of those around the one being read,
  /// or a container holds it.
  mutating func isReadElsewhere(_ reference: PickleGraph.Reference) -> Bool {
    if path.contains(reference) { return true }
    let held = heldReferences ?? Self.heldReferences(in: graph)
    heldReferences = held
    return held.contains(reference)
  }

  private static func heldReferences(in graph: PickleGraph) -> Set<PickleGraph.Reference> {
    var held: Set<PickleGraph.Reference> = []
    for node in graph.nodes {
      switch node {
      case .dictionary(let items): for item in items { held.insert(item.value) }
      case .list(let items), .set(let items): held.formUnion(items)
      case .object(let object):
        for item in object.items { held.insert(item.value) }
        held.formUnion(object.elements)
      default: break
      }
    }
    return held
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
      let name = ArchiveStructure.join(name, "\(index)")
      defer { leaveOutAttachments(of: name) }
      return try structure(of: item, named: name)
    }
  }

  mutating func entries(
    of items: [PickleGraph.Item], named name: String
  ) throws -> [ArchiveStructure.Entry] {
    var entries: [ArchiveStructure.Entry] = []
    for item in items {
      let key = try self.key(of: item.key)
      let component = ArchiveStructure.component(of: key)
      let childName = ArchiveStructure.join(name, component)
      let child = try structure(of: item.value, named: childName)
      entries.append(ArchiveStructure.Entry(key: key, value: child))
      let attached = attachments
      attachments = []
      for attachment in attached {
        let name = ArchiveStructure.join(childName, attachment.key)
        let value =
          switch attachment.content {
          case .reference(let reference): try structure(of: reference, named: name)
          case .tensor(let tensor): try leaf(tensor, named: name)
          }
        leaveOutAttachments(of: name)
        entries.append(
          .init(key: .text(ArchiveStructure.join(component, attachment.key)), value: value))
      }
    }
    return entries
  }

  // MARK: Attachments

  /// A tensor, or something that holds some, which belongs to the tensor that was read last.
  private struct Attachment {
    enum Content {
      case reference(PickleGraph.Reference)
      case tensor(Tensor)
    }

    let key: String
    let content: Content
  }

  /// Puts `tensor` beside the tensor being read, under its name with `key` after it.
  mutating func attach(_ tensor: Tensor, as key: String) {
    attachments.append(Attachment(key: key, content: .tensor(tensor)))
  }

  /// Puts what is at `reference` beside the tensor being read, likewise.
  mutating func attach(_ reference: PickleGraph.Reference, as key: String) {
    attachments.append(Attachment(key: key, content: .reference(reference)))
  }

  /// Puts the attributes of the tensor being read that hold tensors beside it, under its name with
  /// their own after it.
  mutating func attach(attributes items: [PickleGraph.Item]) throws {
    for item in items {
      guard holdsTensors(below: item.value) else {
        notes.add("attributes of tensors are left out where they hold no tensor themselves")
        continue
      }
      attach(item.value, as: ArchiveStructure.component(of: try self.key(of: item.key)))
    }
  }

  /// Attributes of a tensor that was looked at, and will be read.
  mutating func forgetAttachments() { attachments = [] }

  /// Lists attributes of the tensor `name` that have no place beside it: it is an item of a list.
  mutating func leaveOutAttachments(of name: String) {
    for attachment in attachments {
      var kind = "torch.Tensor"
      if case .reference(let reference) = attachment.content { kind = self.kind(of: reference) }
      unread.append(
        UnreadEntry(
          name: ArchiveStructure.join(name, attachment.key), kind: kind,
          reason: "an attribute of a tensor that is an item of a list"))
    }
    attachments = []
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
