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

  func callee(of object: PickleGraph.Object) throws -> String {
    guard case .global(let name) = node(object.callee) else {
      throw FormatError.malformed("the pickle calls something that is no global")
    }
    return name
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

  /// Refuses tensors in attributes, which are left out.
  func requireNoTensors(below reference: PickleGraph.Reference) throws {
    var pending = [reference]
    var seen: Set<PickleGraph.Reference> = []
    while let next = pending.popLast() {
      guard seen.insert(next).inserted else { continue }
      switch node(next) {
      case .tuple(let items), .list(let items), .set(let items): pending += items
      case .dictionary(let items): pending += items.flatMap { [$0.key, $0.value] }
      case .object(let object):
        pending += [object.callee, object.arguments] + object.elements
        pending += object.items.flatMap { [$0.key, $0.value] }
        if let state = object.state { pending.append(state) }
      case .persistent:
        throw FormatError.unsupported(
          "tensors in the attributes of an object are not supported",
          offset: graph.positions[next])
      default: break
      }
    }
  }

  /// The leaf at `reference`, which is no container and no tensor.
  func value(of reference: PickleGraph.Reference) throws -> ArchiveValue {
    switch node(reference) {
    case .none: return .none
    case .boolean(let value): return .boolean(value)
    case .integer(let value): return .integer(value)
    case .largeInteger(let digits): return .largeInteger(digits)
    case .real(let value): return .real(value)
    case .text(let text): return .text(text)
    case .bytes(let bytes): return .bytes(bytes)
    case .global(let name) where PyTorchGlobals.dtypes.contains(name): return .text(name)
    case .global(let name):
      throw FormatError.unsupported("the class or function '\(name)' is no value")
    case .object(let object): return try value(of: object)
    case .tuple, .list, .set, .dictionary, .persistent:
      throw FormatError.unsupported("a container as a dictionary key is not supported")
    }
  }

  private func value(of object: PickleGraph.Object) throws -> ArchiveValue {
    let callee = try callee(of: object)
    try requirePlain(object)
    let arguments = try arguments(of: object).map(node)
    switch (callee, arguments.count) {
    case ("builtins.complex", 2):
      if let real = number(arguments[0]), let imaginary = number(arguments[1]) {
        return .complex(real: real, imaginary: imaginary)
      }
    case ("_codecs.encode", 2):
      if case .text(let text) = arguments[0], case .text(let encoding) = arguments[1] {
        return .bytes(try encode(text, encoding))
      }
    case ("builtins.bytearray", 0): return .bytes([])
    case ("builtins.bytearray", 1):
      if case .bytes(let bytes) = arguments[0] { return .bytes(bytes) }
      if case .object(let inner) = arguments[0], try self.callee(of: inner) == "_codecs.encode" {
        return try value(of: inner)
      }
    case ("builtins.bytearray", 2):
      if case .text(let text) = arguments[0], case .text(let encoding) = arguments[1] {
        return .bytes(try encode(text, encoding))
      }
    case ("torch.device", 1):
      if case .text(let kind) = arguments[0] { return .text(kind) }
    case ("torch.device", 2):
      if case .text(let kind) = arguments[0], case .integer(let index) = arguments[1] {
        return .text("\(kind):\(index)")
      }
    case ("torch.serialization._get_layout", 1):
      if case .text(let layout) = arguments[0] { return .text(layout) }
    default: break
    }
    throw FormatError.unsupported("a pickled call of '\(callee)' with these arguments")
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
