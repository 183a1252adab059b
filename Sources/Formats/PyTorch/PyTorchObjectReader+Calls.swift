extension PyTorchObjectReader {
  /// What a call makes: a container, a tensor, an array, a value, or an opaque object.
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
        throw FormatError.malformed("a pickled torch.Size is made of something that is no tuple")
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

  /// The name of an attribute of a class or module, such as `torch.relu`, or of an object that the
  /// method belongs to: bound methods are pickled so.
  private mutating func attribute(_ object: PickleGraph.Object) throws -> ArchiveValue? {
    let arguments = try arguments(of: object)
    guard arguments.count >= 2, case .text(let attribute) = node(arguments[1]) else { return nil }
    switch node(arguments[0]) {
    case .global: break
    case .object:
      // An object that is nowhere else is read here.
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
      throw FormatError.malformed("a pickled '\(callee)' is appended to")
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

  /// What is at `reference` as an entry of the container `name`.
  mutating func entry(
    _ key: String, _ reference: PickleGraph.Reference, in name: String
  ) throws -> ArchiveStructure.Entry {
    let name = ArchiveStructure.join(name, key)
    defer { leaveOutAttachments(of: name) }
    return ArchiveStructure.Entry(key: .text(key), value: try structure(of: reference, named: name))
  }

  /// What a list or set is made from, and what was added.
  private func initialMembers(of object: PickleGraph.Object) throws -> [PickleGraph.Reference] {
    let arguments = try arguments(of: object)
    guard object.items.isEmpty, object.state == nil else {
      throw FormatError.unsupported(
        "a pickled '\(try callee(of: object))' with attributes or items is not supported")
    }
    guard let members = arguments.first else { return object.elements }
    // A deque has its greatest length as well.
    guard arguments.count <= 2, let items = sequence(members) else {
      throw FormatError.malformed(
        "a pickled '\(try callee(of: object))' is made of something that is no list")
    }
    return items + object.elements
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
}
