/// Objects whose classes are not data: modules, settings, and anything else that a program keeps.
extension PyTorchObjectReader {
  /// The parts in which an opaque object was pickled.
  struct Parts {
    var className: String
    var arguments: [PickleGraph.Reference]
    var attributes: [PickleGraph.Item] = []
    /// A state that is not a dictionary of attributes.
    var state: PickleGraph.Reference?
    var elements: [PickleGraph.Reference]
    var items: [PickleGraph.Item]
  }

  /// Reads the object's own data as a container.
  ///
  /// Dictionary items are read directly, or else attributes; list elements, arguments and a state
  /// are only if there is nothing else. Anything else goes under `__dict__`, `__list__`, `__args__`
  /// and `__state__`. A module of `torch.nn` has the names that `state_dict()` gives it.
  mutating func readOpaque(
    _ object: PickleGraph.Object, _ callee: String, named name: String
  ) throws -> ArchiveStructure {
    let parts = try parts(of: object, callee)
    let isTorchScript = parts.className.hasPrefix("__torch__.")
    if !isTorchScript { notes.addOpaque(parts.className) }
    if let module = moduleItems(parts.attributes) {
      return .dictionary(try moduleEntries(module, parts, named: name), isOrdered: false)
    }

    var entries: [ArchiveStructure.Entry] = []
    let hasItems = !parts.items.isEmpty
    let hasAttributes = !parts.attributes.isEmpty
    if hasItems { entries += try self.entries(of: parts.items, named: name) }
    if hasAttributes {
      if hasItems {
        let inner = ArchiveStructure.join(name, "__dict__")
        let attributes = try self.entries(of: parts.attributes, named: inner)
        entries.append(
          .init(key: .text("__dict__"), value: .dictionary(attributes, isOrdered: false)))
      } else {
        entries += try self.entries(of: parts.attributes, named: name)
      }
    }
    if entries.isEmpty, parts.state == nil {
      if parts.arguments.isEmpty, !parts.elements.isEmpty {
        return .list(try structures(of: parts.elements, named: name))
      }
      if parts.elements.isEmpty, !parts.arguments.isEmpty {
        return .tuple(try structures(of: parts.arguments, named: name))
      }
    }
    if entries.isEmpty, parts.arguments.isEmpty, parts.elements.isEmpty, let state = parts.state {
      return try structure(of: state, named: name)
    }
    entries += try besides(parts, named: name)
    return .dictionary(entries, isOrdered: false)
  }

  private mutating func besides(
    _ parts: Parts, named name: String
  ) throws -> [ArchiveStructure.Entry] {
    var entries: [ArchiveStructure.Entry] = []
    if !parts.elements.isEmpty {
      let items = try structures(
        of: parts.elements, named: ArchiveStructure.join(name, "__list__"))
      entries.append(.init(key: .text("__list__"), value: .list(items)))
    }
    if let state = parts.state { entries.append(try entry("__state__", state, in: name)) }
    if !parts.arguments.isEmpty {
      let items = try structures(
        of: parts.arguments, named: ArchiveStructure.join(name, "__args__"))
      entries.append(.init(key: .text("__args__"), value: .tuple(items)))
    }
    return entries
  }

  private func parts(of object: PickleGraph.Object, _ callee: String) throws -> Parts {
    var arguments = try arguments(of: object)
    var className = callee
    switch callee {
    case "copyreg._reconstructor":  // class, base class, the base's state
      guard arguments.count == 3, case .global(let name) = node(arguments[0]) else { break }
      className = name
      if case .none = node(arguments[2]) { arguments = [] } else { arguments = [arguments[2]] }
    case "copyreg.__newobj__", "copyreg.__newobj_ex__":
      guard let first = arguments.first, case .global(let name) = node(first) else { break }
      className = name
      arguments.removeFirst()
    case "torch._tensor._rebuild_from_type_v2":  // function, class, its arguments, the state
      guard arguments.count == 4, case .global(let name) = node(arguments[1]) else { break }
      className = name
      var parts = Parts(
        className: className, arguments: sequence(arguments[2]) ?? [arguments[2]], elements: [],
        items: [])
      addState(arguments[3], to: &parts)
      return parts
    case "torch.fx.graph_module.reduce_graph_module":  // attributes, import lines
      guard let first = arguments.first, case .dictionary(let items) = node(first) else { break }
      return Parts(
        className: "torch.fx.graph_module.GraphModule", arguments: [], attributes: items,
        elements: [], items: [])
    default: break
    }
    if let keywords = object.keywords { arguments.append(keywords) }
    var parts = Parts(
      className: className, arguments: arguments, elements: object.elements, items: object.items)
    if let state = object.state { addState(state, to: &parts) }
    return parts
  }

  func addState(_ state: PickleGraph.Reference, to parts: inout Parts) {
    switch node(state) {
    case .none: break
    case .dictionary(let items): parts.attributes = items
    case .tuple(let pair) where pair.count == 2:
      // The attributes of `__dict__` and of `__slots__`.
      switch (node(pair[0]), node(pair[1])) {
      case (.none, .dictionary(let slots)): parts.attributes = slots
      case (.dictionary(let items), .dictionary(let slots)): parts.attributes = items + slots
      default: parts.state = state
      }
    default: parts.state = state
    }
  }

  // MARK: Modules

  /// The parameters, buffers and children of a module, and its other attributes.
  private struct ModuleItems {
    var own: [PickleGraph.Item]
    var others: [PickleGraph.Item]
  }

  /// Returns the module's items, or `nil` if the attributes are not those of a `torch.nn` module.
  private func moduleItems(_ attributes: [PickleGraph.Item]) -> ModuleItems? {
    var own: [String: [PickleGraph.Item]] = [:]
    var others: [PickleGraph.Item] = []
    for item in attributes {
      if case .text(let key) = node(item.key), Self.moduleKeys.contains(key),
        let items = dictionaryItems(item.value)
      {
        own[key] = items
      } else {
        others.append(item)
      }
    }
    guard own.count == Self.moduleKeys.count else { return nil }
    return ModuleItems(own: Self.moduleKeys.flatMap { own[$0] ?? [] }, others: others)
  }

  /// The keys in the order of `state_dict()`.
  private static let moduleKeys = ["_parameters", "_buffers", "_modules"]

  private func dictionaryItems(_ reference: PickleGraph.Reference) -> [PickleGraph.Item]? {
    switch node(reference) {
    case .dictionary(let items): return items
    case .object(let object):
      guard let callee = try? callee(of: object),
        callee == "collections.OrderedDict" || callee == "builtins.dict",
        let arguments = try? arguments(of: object)
      else { return nil }
      guard let source = arguments.first else { return object.items }
      guard case .list(let pairs) = node(source) else { return nil }
      let items = pairs.compactMap { pair -> PickleGraph.Item? in
        guard let parts = sequence(pair), parts.count == 2 else { return nil }
        return PickleGraph.Item(key: parts[0], value: parts[1])
      }
      return items.count == pairs.count ? items + object.items : nil
    default: return nil
    }
  }

  private mutating func moduleEntries(
    _ module: ModuleItems, _ parts: Parts, named name: String
  ) throws -> [ArchiveStructure.Entry] {
    try entries(of: module.own + parts.items + module.others, named: name)
      + besides(parts, named: name)
  }
}

/// Functions and classes that a pickle rebuilds from their code, as cloudpickle and dill do for
/// those of a notebook. Nothing can be made of their parts without executing them.
enum PickledFunctions {
  /// Functions that make a function or a part of one.
  static let functionMakers: Set<String> = [
    "cloudpickle.cloudpickle._make_function", "cloudpickle.cloudpickle._builtin_type",
    "cloudpickle.cloudpickle.subimport", "cloudpickle.cloudpickle.dynamic_subimport",
    "cloudpickle.cloudpickle._make_cell", "cloudpickle.cloudpickle._make_empty_cell",
    "cloudpickle.cloudpickle_fast._make_function", "cloudpickle.cloudpickle._make_skel_func",
    "cloudpickle.cloudpickle._fill_function", "dill._dill._create_function",
    "dill._dill._create_code", "dill._dill._create_cell", "dill._dill._import_module",
    "types.FunctionType", "types.LambdaType", "types.CodeType",
  ]

  /// Functions that make a class whose name is their second argument.
  static let classMakers: Set<String> = [
    "cloudpickle.cloudpickle._make_skeleton_class", "cloudpickle.cloudpickle._make_skeleton_enum",
    "cloudpickle.cloudpickle_fast._make_skeleton_class", "cloudpickle.cloudpickle._make_typevar",
    "dill._dill._create_type", "types.new_class", "builtins.type",
  ]
}

/// Dates and times as the `datetime` module pickles them: a few bytes, big-endian.
enum PickledDate {
  /// Returns the date or time in ISO 8601 form, or `nil` if the bytes are not one.
  static func text(_ className: String, _ bytes: [UInt8]) -> String? {
    func number(_ range: Range<Int>) -> Int { range.reduce(0) { $0 << 8 | Int(bytes[$1]) } }
    func padded(_ value: Int, _ count: Int) -> String {
      let digits = "\(value)"
      return String(repeating: "0", count: max(0, count - digits.count)) + digits
    }
    func date() -> String {
      // The highest bit of the month marks the second of two equal times at a clock change.
      "\(padded(number(0..<2), 4))-\(padded(Int(bytes[2] & 0x7F), 2))-\(padded(Int(bytes[3]), 2))"
    }
    func time(from start: Int) -> String {
      let clock = [Int(bytes[start] & 0x7F), Int(bytes[start + 1]), Int(bytes[start + 2])]
        .map { padded($0, 2) }.joined(separator: ":")
      let microseconds = number(start + 3..<start + 6)
      return microseconds == 0 ? clock : "\(clock).\(padded(microseconds, 6))"
    }
    switch (className, bytes.count) {
    case ("datetime.datetime", 10): return "\(date())T\(time(from: 4))"
    case ("datetime.date", 4): return date()
    case ("datetime.time", 6): return time(from: 0)
    default: return nil
    }
  }
}
