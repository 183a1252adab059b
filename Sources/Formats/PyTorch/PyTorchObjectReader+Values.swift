extension PyTorchObjectReader {
  /// The items of a tuple, a list or a `torch.Size`.
  func sequence(_ reference: PickleGraph.Reference) -> [PickleGraph.Reference]? {
    switch node(reference) {
    case .tuple(let items), .list(let items): return items
    case .object(let object):
      guard let callee = try? callee(of: object), callee == "torch.Size",
        let arguments = try? arguments(of: object), arguments.count == 1,
        case .tuple(let items) = node(arguments[0])
      else { return nil }
      return items
    default: return nil
    }
  }

  /// The name of the class or function that a call would call.
  func callee(of object: PickleGraph.Object) throws -> String {
    try name(ofFunction: object.callee, depth: 0)
  }

  /// The name of a class or function that stands at `reference`, or is the result of a call there.
  private func name(ofFunction reference: PickleGraph.Reference, depth: Int) throws -> String {
    switch node(reference) {
    case .global(let name): return name
    case .object(let object):
      guard depth < 8 else { return "something computed" }
      let callee = try name(ofFunction: object.callee, depth: depth + 1)
      let arguments = try arguments(of: object)
      switch callee {
      case "builtins.getattr":
        guard arguments.count >= 2, case .text(let attribute) = node(arguments[1]) else { break }
        return "\(try name(ofFunction: arguments[0], depth: depth + 1)).\(attribute)"
      case let maker where PickledFunctions.classMakers.contains(maker):
        // (metaclass, name, bases, …)
        guard arguments.count >= 2, case .text(let name) = node(arguments[1]) else { break }
        return name
      default: break
      }
      return "the result of \(callee)"
    case .persistent: return "something outside the pickle"
    default: throw FormatError.malformed("the pickle calls something that is no global")
    }
  }

  func arguments(of object: PickleGraph.Object) throws -> [PickleGraph.Reference] {
    guard case .tuple(let arguments) = node(object.arguments) else {
      throw FormatError.malformed("the pickle calls with something that is no tuple")
    }
    return arguments
  }

  /// Refuses an object that is changed after it was made.
  func requirePlain(_ object: PickleGraph.Object) throws {
    guard object.elements.isEmpty, object.items.isEmpty, object.state == nil else {
      throw FormatError.unsupported(
        "a pickled '\(try callee(of: object))' with attributes or items is not supported")
    }
  }

  /// Whether tensors or arrays lie in what is at `reference`, or below; also where that takes too long
  /// to find out.
  mutating func holdsTensors(below reference: PickleGraph.Reference) -> Bool {
    var pending = [reference]
    var seen: Set<PickleGraph.Reference> = []
    while let next = pending.popLast() {
      guard seen.insert(next).inserted else { continue }
      searchBudget -= 1
      guard searchBudget > 0 else { return true }
      switch node(next) {
      case .tuple(let items), .list(let items), .set(let items): pending += items
      case .dictionary(let items): pending += items.flatMap { [$0.key, $0.value] }
      case .global(let name) where Self.arrayMakers.contains(name): return true
      case .object(let object):
        pending += [object.callee, object.arguments] + object.elements
        pending += object.items.flatMap { [$0.key, $0.value] }
        if let state = object.state { pending.append(state) }
      case .persistent: return true
      default: break
      }
    }
    return false
  }

  private static let arrayMakers: Set<String> = [
    "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct",
    "numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer",
    "torch.storage._load_from_bytes",
  ]

  /// The class of what is at `reference`, as the file calls it.
  func kind(of reference: PickleGraph.Reference) -> String {
    switch node(reference) {
    case .none: return "None"
    case .boolean: return "bool"
    case .integer, .largeInteger: return "int"
    case .real: return "float"
    case .text: return "str"
    case .bytes: return "bytes"
    case .tuple: return "tuple"
    case .list: return "list"
    case .set: return "set"
    case .dictionary: return "dict"
    case .global(let name): return name
    case .persistent: return "storage"
    case .object(let object):
      guard let callee = try? callee(of: object) else { return "object" }
      if callee == "torch._tensor._rebuild_from_type_v2",
        let arguments = try? arguments(of: object), arguments.count == 4,
        case .global(let name) = node(arguments[1])
      {
        return name
      }
      if callee.hasPrefix("torch._utils._rebuild_parameter") { return "torch.nn.Parameter" }
      if callee.hasPrefix("torch._utils._rebuild_") { return "torch.Tensor" }
      if callee.hasPrefix("numpy.") { return "numpy.ndarray" }
      return callee
    }
  }

  /// The leaf at `reference`, which is no container and no tensor.
  mutating func value(of reference: PickleGraph.Reference) throws -> ArchiveValue {
    if let value = try value(ofLeaf: reference) { return value }
    throw FormatError.malformed("the pickle has a container where a value belongs")
  }

  /// The key of a dictionary; those that are neither texts nor numbers become texts.
  mutating func key(of reference: PickleGraph.Reference) throws -> ArchiveValue {
    if let value = try value(ofLeaf: reference) { return value }
    if case .tuple(let parts) = node(reference) {
      let texts = try parts.map { try value(ofLeaf: $0)?.description }
      if texts.allSatisfy({ $0 != nil }) {
        notes.add("keys that are tuples are kept as texts")
        let joined = texts.compactMap { $0 }.joined(separator: ", ")
        return .text(parts.count == 1 ? "(\(joined),)" : "(\(joined))")
      }
    }
    notes.add("keys that are objects are replaced by their place in the pickle")
    return .text("object at byte \(graph.positions[reference])")
  }

  /// `nil` for containers, tensors and opaque objects.
  mutating func value(ofLeaf reference: PickleGraph.Reference) throws -> ArchiveValue? {
    switch node(reference) {
    case .none: return ArchiveValue.none
    case .boolean(let value): return .boolean(value)
    case .integer(let value): return .integer(value)
    case .largeInteger(let digits): return .largeInteger(digits)
    case .real(let value): return .real(value)
    case .text(let text): return .text(text)
    case .bytes(let bytes): return .bytes(bytes.array)
    case .global(let name):
      if !PyTorchGlobals.dtypes.contains(name) {
        notes.add("classes and functions among the values are kept as their names")
      }
      return .text(name)
    case .object(let object): return try value(of: object)
    case .tuple, .list, .set, .dictionary, .persistent: return nil
    }
  }

  /// The value that a call makes, or `nil` when it makes something else.
  func value(of object: PickleGraph.Object) throws -> ArchiveValue? {
    let callee = try callee(of: object)
    guard object.elements.isEmpty, object.items.isEmpty, object.state == nil,
      object.keywords == nil
    else { return nil }
    let references = try arguments(of: object)
    let arguments = references.map(node)
    switch (callee, arguments.count) {
    case ("builtins.complex", 2):
      if let real = number(arguments[0]), let imaginary = number(arguments[1]) {
        return .complex(real: real, imaginary: imaginary)
      }
    case ("_codecs.encode", _), ("builtins.bytearray", _), ("builtins.bytes", _):
      return try bytes(of: object).map { .bytes($0.array) }
    case ("torch.device", 1):
      if case .text(let kind) = arguments[0] { return .text(kind) }
    case ("torch.device", 2):
      if case .text(let kind) = arguments[0], case .integer(let index) = arguments[1] {
        return .text("\(kind):\(index)")
      }
    case ("torch.serialization._get_layout", 1), ("decimal.Decimal", 1), ("fractions.Fraction", 1):
      if case .text(let text) = arguments[0] { return .text(text) }
    case (_, 1...) where callee.hasPrefix("pathlib."):
      let parts = arguments.compactMap { part in
        if case .text(let text) = part { text } else { nil }
      }
      guard parts.count == arguments.count else { return nil }
      return .text(Self.path(parts, separator: callee.hasSuffix("WindowsPath") ? "\\" : "/"))
    case ("datetime.datetime", 1), ("datetime.date", 1), ("datetime.time", 1):
      return try bytes(at: references[0]).flatMap { PickledDate.text(callee, $0.array) }
        .map { .text($0) }
    default: return try numPyScalar(of: object)
    }
    return nil
  }

  private static func path(_ parts: [String], separator: String) -> String {
    guard let first = parts.first, first.hasSuffix(separator) else {
      return parts.joined(separator: separator)
    }
    return first + parts.dropFirst().joined(separator: separator)
  }

  /// The bytes that an opcode or a call stands for, or `nil` for anything else.
  func bytes(at reference: PickleGraph.Reference) throws -> SharedBytes? {
    switch node(reference) {
    case .bytes(let bytes): return bytes
    // Python 2's byte strings that happen to be UTF-8.
    case .text(let text): return SharedBytes(Array(text.utf8))
    case .object(let object): return try bytes(of: object)
    default: return nil
    }
  }

  private func bytes(of object: PickleGraph.Object) throws -> SharedBytes? {
    let callee = try callee(of: object)
    let arguments = try arguments(of: object)
    switch (callee, arguments.count) {
    case ("_codecs.encode", 2), ("builtins.bytearray", 2), ("builtins.bytes", 2):
      guard case .text(let text) = node(arguments[0]), case .text(let encoding) = node(arguments[1])
      else { return nil }
      return SharedBytes(try encode(text, encoding))
    case ("builtins.bytearray", 0), ("builtins.bytes", 0): return SharedBytes()
    case ("builtins.bytearray", 1), ("builtins.bytes", 1):
      switch node(arguments[0]) {
      case .bytes(let bytes): return bytes
      case .object(let inner): return try bytes(of: inner)
      default: return nil
      }
    default: return nil
    }
  }

  private func number(_ node: PickleGraph.Node) -> Double? {
    switch node {
    case .real(let value): value
    case .integer(let value): Double(value)
    default: nil
    }
  }

  /// Python 3 pickles bytes as Latin-1 text in the protocols that have no bytes.
  private func encode(_ text: String, _ encoding: String) throws -> [UInt8] {
    guard encoding == "latin1" || encoding == "latin-1" else {
      throw FormatError.unsupported("bytes pickled in the encoding '\(encoding)'")
    }
    return try text.unicodeScalars.map { scalar in
      guard let byte = UInt8(exactly: scalar.value) else {
        throw FormatError.malformed("pickled bytes hold the character \(scalar.value)")
      }
      return byte
    }
  }
}
