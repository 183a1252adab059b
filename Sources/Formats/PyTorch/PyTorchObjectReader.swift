import OrderedCollections
import Storage

/// Converts the object graph of a checkpoint into tensors, values and containers.
///
/// Objects whose classes are not data are opaque: their attributes and items are read as plain
/// data, and a note says so.
struct PyTorchObjectReader {
  let graph: PickleGraph
  var storages: any PyTorchStorageSource
  var notes = PyTorchNotes()
  /// The entries that could not be read.
  private(set) var unread: [UnreadEntry] = []
  /// The names of the dictionaries that are the whole state of a module.
  var stateDictionaries: Set<String> = []
  /// Attributes of the tensor just read that hold tensors, for the container around it.
  private var attachments: [Attachment] = []
  /// The objects that some dictionary, list or set holds; computed on first use.
  private var heldReferences: Set<PickleGraph.Reference>?
  /// The remaining steps of `holdsTensors`, which searches a shared object once per place.
  var searchBudget = 1 << 24
  /// The storages inside the pickle, by the call that opens them.
  var nestedStorages: [PickleGraph.Reference: PyTorchNestedStorage] = [:]
  private var tensors: OrderedDictionary<String, Tensor> = [:]
  private var values: OrderedDictionary<String, ArchiveValue> = [:]
  /// The containers around the object being read, outermost first.
  private var path: [PickleGraph.Reference] = []
  private var visitCount = 0
  private var nameByteCount = 0

  static let depthLimit = 100
  /// Shared containers are read once per place that they are in, which can multiply.
  static let visitLimit = 1 << 20
  static let nameByteLimit = 1 << 28

  init(graph: PickleGraph, storages: any PyTorchStorageSource) {
    self.graph = graph
    self.storages = storages
  }

  /// Reads the checkpoint.
  ///
  /// - Parameter name: the prefix of all names; empty if the object is the whole content of a file.
  /// - Throws: `ModelError` naming the place in the checkpoint and in the pickle.
  mutating func read(named name: String = "") throws -> TensorArchive {
    let structure = try structure(of: graph.root, named: name)
    leaveOutAttachments(of: name)
    return archive(of: structure)
  }

  /// Returns everything that has been read so far.
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
    } catch let error as ModelError {
      guard case .unsupported(let reason) = error.problem else {
        throw error.located(
          tensor: name.isEmpty ? nil : name, offset: graph.positions[reference])
      }
      // Remove the parts that were read before the obstacle.
      tensors.removeLast(tensors.count - tensorCount)
      values.removeLast(values.count - valueCount)
      return leaveOut(reference, named: name, because: reason)
    }
  }

  /// Lists the object at `reference` as left out.
  mutating func leaveOut(
    _ reference: PickleGraph.Reference, named name: String, because reason: String
  ) -> ArchiveStructure {
    attachments = []
    let name = name.isEmpty ? "tensor" : name
    unread.append(UnreadEntry(name: name, kind: kind(of: reference), reason: reason))
    return .unread(name)
  }

  /// Whether the object at `reference` is read anyway, because it encloses the one being read or a
  /// container holds it.
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

  /// Whether `reference` closes a cycle through an object with a state, as plain data never does.
  private func isCycleOfObjects(_ reference: PickleGraph.Reference) -> Bool {
    guard let start = path.firstIndex(of: reference) else { return false }
    return path[start...].contains { ancestor in
      guard case .object(let object) = node(ancestor) else { return false }
      return object.state != nil
    }
  }

  private mutating func enter(_ reference: PickleGraph.Reference) throws {
    guard path.count < Self.depthLimit else {
      throw ModelError(
        .limitExceeded(
          what: "the nesting of a checkpoint", limit: Self.depthLimit,
          found: path.contains(reference) ? "an object that contains itself" : "more"))
    }
    guard !path.contains(reference) else {
      throw ModelError.malformed("the checkpoint contains an object that contains itself")
    }
    visitCount += 1
    guard visitCount <= Self.visitLimit else {
      throw ModelError(
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

  /// A tensor, or an object that holds some, which belongs to the tensor that was read last.
  private struct Attachment {
    enum Content {
      case reference(PickleGraph.Reference)
      case tensor(Tensor)
    }

    let key: String
    let content: Content
  }

  /// Puts `tensor` beside the tensor being read, under its name followed by `key`.
  mutating func attach(_ tensor: Tensor, as key: String) {
    attachments.append(Attachment(key: key, content: .tensor(tensor)))
  }

  /// Puts the object at `reference` beside the tensor being read, under its name followed by `key`.
  mutating func attach(_ reference: PickleGraph.Reference, as key: String) {
    attachments.append(Attachment(key: key, content: .reference(reference)))
  }

  /// Puts the attributes that hold tensors beside the tensor being read, under its name followed by
  /// theirs.
  mutating func attach(attributes items: [PickleGraph.Item]) throws {
    for item in items {
      guard holdsTensors(below: item.value) else {
        notes.add("attributes of tensors that hold no tensor themselves are left out")
        continue
      }
      attach(item.value, as: ArchiveStructure.component(of: try self.key(of: item.key)))
    }
  }

  /// Drops the attachments of a tensor that was only examined, and will be read later.
  mutating func forgetAttachments() { attachments = [] }

  /// Lists attributes of the tensor `name` that have no place beside it, since it is an item of a
  /// list.
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
      throw ModelError.malformed("two objects of the checkpoint have this name", tensor: name)
    }
    nameByteCount += name.utf8.count
    guard nameByteCount <= Self.nameByteLimit else {
      throw ModelError(
        .limitExceeded(
          what: "the bytes of all names", limit: Self.nameByteLimit, found: "more"))
    }
  }
}

extension PyTorchObjectReader {
  /// Reads the result of a call: a container, a tensor, an array, a value, or an opaque object.
  mutating func readCall(
    _ object: PickleGraph.Object, _ reference: PickleGraph.Reference, named name: String
  ) throws -> ArchiveStructure {
    let callee = try self.callee(of: object)
    switch callee {
    case "collections.OrderedDict", "collections.Counter", "builtins.dict",
      "collections.defaultdict":
      return try readDictionary(object, callee, named: name)
    case "builtins.set", "builtins.frozenset":
      return .set(try structures(of: try initialMembers(of: object), named: name))
    case "builtins.list", "builtins.tuple", "collections.deque":
      guard object.items.isEmpty, object.state == nil else { break }
      let members = try structures(of: try initialMembers(of: object), named: name)
      return callee == "builtins.tuple" ? .tuple(members) : .list(members)
    case "torch.Size":
      try requirePlain(object)
      let arguments = try arguments(of: object)
      guard arguments.count == 1, let items = sequence(arguments[0]) else {
        throw ModelError.malformed("a pickled torch.Size is made of something that is not a tuple")
      }
      return .tuple(try structures(of: items, named: name))
    case "torch.jit._pickle.restore_type_tag", "torch.jit._pickle.build_intlist",
      "torch.jit._pickle.build_doublelist", "torch.jit._pickle.build_boollist",
      "torch.jit._pickle.build_tensorlist":
      // TorchScript's lists and dictionaries, with their types.
      let arguments = try arguments(of: object)
      guard let value = arguments.first else { break }
      return try structure(of: value, named: name)
    case "flax.core.frozen_dict.FrozenDict":
      guard let content = try arguments(of: object).first, object.state == nil else { break }
      return try structure(of: content, named: name)
    case "builtins.getattr":
      if let attribute = try attribute(object) { return try leaf(attribute, named: name) }
    case _
    where PickledFunctions.functionMakers.contains(callee)
      || PickledFunctions.classMakers.contains(callee):
      guard !holdsTensors(below: object.arguments) else { break }
      notes.add("functions and classes that the file defines itself are left out")
      let isClass = PickledFunctions.classMakers.contains(callee)
      return try leaf(
        .text(isClass ? try className(madeBy: object) : "a function"), named: name)
    case "torch.storage._load_from_bytes":
      return try leaf(try storageAsTensor(reference), named: name)
    default:
      if let components = try components(of: object, named: name) { return components }
      if let parts = try wrapper(object, reference, named: name) { return parts }
      if let tensor = try tensor(of: object) { return try leaf(tensor, named: name) }
      if let array = try numPyObject(object, named: name) { return array }
      if let value = try value(of: object) { return try leaf(value, named: name) }
    }
    return try readOpaque(object, callee, named: name)
  }

  /// Returns the name of an attribute of a class or module, such as `torch.relu`, or of a bound
  /// method, which is pickled as an attribute of its object.
  private mutating func attribute(_ object: PickleGraph.Object) throws -> ArchiveValue? {
    let arguments = try arguments(of: object)
    guard arguments.count >= 2, case .text(let attribute) = node(arguments[1]) else { return nil }
    switch node(arguments[0]) {
    case .global: break
    case .object:
      // An object that occurs nowhere else is read here.
      guard isReadElsewhere(arguments[0]) || !holdsTensors(below: arguments[0]) else { return nil }
    default: return nil
    }
    notes.add("classes and functions among the values are kept as their names")
    return .text("\(kind(of: arguments[0])).\(attribute)")
  }

  private func className(madeBy object: PickleGraph.Object) throws -> String {
    let arguments = try arguments(of: object)
    guard arguments.count >= 2, case .text(let name) = node(arguments[1]) else { return "a class" }
    return name
  }

  private mutating func readDictionary(
    _ object: PickleGraph.Object, _ callee: String, named name: String
  ) throws -> ArchiveStructure {
    guard object.elements.isEmpty else {
      throw ModelError.malformed("a pickled '\(callee)' is appended to")
    }
    let isOrdered = callee == "collections.OrderedDict"
    var items: [PickleGraph.Item] = []
    if callee != "collections.defaultdict" {
      items = try initialItems(of: object)
    }
    var entries = try entries(of: items + object.items, named: name)
    // `_metadata`, the versions of the modules' layouts, is not weights.
    if let state = object.state, !isMetadata(state) {
      entries.append(try entry("__dict__", state, in: name))
    }
    if isOrdered, let state = object.state, isMetadata(state) { stateDictionaries.insert(name) }
    return .dictionary(entries, isOrdered: isOrdered)
  }

  /// Whether `state` is the attribute that `Module.state_dict` gives its dictionary.
  private func isMetadata(_ state: PickleGraph.Reference) -> Bool {
    guard case .dictionary(let items) = node(state) else { return false }
    return !items.isEmpty
      && items.allSatisfy { item in
        if case .text("_metadata") = node(item.key) { true } else { false }
      }
  }

  /// Reads the object at `reference` as an entry of the container `name`.
  mutating func entry(
    _ key: String, _ reference: PickleGraph.Reference, in name: String
  ) throws -> ArchiveStructure.Entry {
    let name = ArchiveStructure.join(name, key)
    defer { leaveOutAttachments(of: name) }
    return ArchiveStructure.Entry(key: .text(key), value: try structure(of: reference, named: name))
  }

  /// Returns the members that a list or set is made from, and those added afterwards.
  private func initialMembers(of object: PickleGraph.Object) throws -> [PickleGraph.Reference] {
    let arguments = try arguments(of: object)
    guard object.items.isEmpty, object.state == nil else {
      throw ModelError.unsupported(
        "a pickled '\(try callee(of: object))' with attributes or items is not supported")
    }
    guard let members = arguments.first else { return object.elements }
    // A deque also has its maximum length.
    guard arguments.count <= 2, let items = sequence(members) else {
      throw ModelError.malformed(
        "a pickled '\(try callee(of: object))' is made of something that is not a list")
    }
    return items + object.elements
  }

  /// Returns the items that a dictionary is made from: none, another dictionary's, or pairs.
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
    throw ModelError.malformed("a pickled dictionary is made of something that is not a dictionary")
  }
}
