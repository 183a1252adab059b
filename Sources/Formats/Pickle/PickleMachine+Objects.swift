import Storage

extension PickleMachine {
  /// Executes an opcode that names or calls something outside the pickle.
  mutating func executeObject(_ opcode: PickleOpcode) throws {
    switch opcode {
    case .global:
      let module = try readTextLine()
      try pushGlobal(module: module, name: try readTextLine(), by: opcode)
    case .stackGlobal:
      let (name, module) = (try pop(), try pop())
      if case .text(let name) = node(name), case .text(let module) = node(module) {
        try pushGlobal(module: module, name: name, by: opcode)
      } else {
        try pushComputedGlobal(by: opcode)
      }
    case .inst:
      let module = try readTextLine()
      try pushGlobal(module: module, name: try readTextLine(), by: opcode)
      let callee = try pop()
      try pushCall(of: callee, with: try make(.tuple(try popToMark())), by: opcode)
    case .obj:
      let parts = try popToMark()
      guard let callee = parts.first else {
        throw failure("the pickle makes an object without a class")
      }
      try pushCall(of: callee, with: try make(.tuple(Array(parts.dropFirst()))), by: opcode)
    case .reduce, .newObj:
      let arguments = try pop()
      try pushCall(of: try pop(), with: arguments, by: opcode)
    case .newObjEx:
      let keywords = try pop()
      let arguments = try pop()
      if case .dictionary(let items) = node(keywords), items.isEmpty {
        try pushCall(of: try pop(), with: arguments, by: opcode)
      } else {
        try pushCall(of: try pop(), with: arguments, keywords: keywords, by: opcode)
      }
    case .build: try build()
    case .persID: try pushPersistent(try make(.text(try readTextLine())), by: opcode)
    default: try pushPersistent(try pop(), by: opcode)  // BINPERSID
    }
  }

  /// Pushes the global of an extension code, which only a registry outside the pickle names.
  mutating func pushExtension(_ code: Int, by opcode: PickleOpcode) throws {
    guard isAuditing else { throw failure("extension code \(code) is refused") }
    events.append(PickleEvent(.extensionCode(code), opcode: opcode, offset: position))
    try push(.global("extension code \(code)"))
  }

  private mutating func pushComputedGlobal(by opcode: PickleOpcode) throws {
    guard isAuditing else {
      throw failure("the pickle names a global by something that is not text")
    }
    events.append(PickleEvent(.computedGlobal, opcode: opcode, offset: position))
    try push(.global("a computed name"))
  }

  private mutating func pushCall(
    of callee: PickleGraph.Reference, with arguments: PickleGraph.Reference,
    keywords: PickleGraph.Reference? = nil, by opcode: PickleOpcode
  ) throws {
    if isAuditing {
      let kind = PickleEvent.Kind.call(callee: name(of: callee), argument: summary(of: arguments))
      if let judgement = judgementOfUse(callee, arguments) {
        events.append(PickleEvent(kind, judgement, opcode: opcode, offset: position))
      } else {
        events.append(PickleEvent(kind, opcode: opcode, offset: position))
      }
    } else {
      switch node(callee) {
      case .global, .object, .persistent: break
      default: throw failure("the pickle calls something that is not a global")
      }
      guard case .tuple = node(arguments) else {
        throw failure("the pickle calls with something that is not a tuple")
      }
      if let harm = harm(ofCalling: callee, with: arguments), case .global(let name) = node(harm) {
        throw ModelError.malformed("the global '\(name)' is refused", offset: position(of: harm))
          .offering(.audit)
      }
    }
    try push(
      .object(PickleGraph.Object(callee: callee, arguments: arguments, keywords: keywords)))
  }

  /// Returns the global through which a call would run programs or code: the callee, or an argument
  /// of a callee that calls functions.
  private func harm(
    ofCalling callee: PickleGraph.Reference, with arguments: PickleGraph.Reference
  ) -> PickleGraph.Reference? {
    func isHarmful(_ reference: PickleGraph.Reference) -> Bool {
      name(of: reference).map(PickleHazards.isRefused) ?? false
    }
    if isHarmful(callee) { return callee }
    var suspects: [PickleGraph.Reference] = []
    switch node(callee) {
    case .global(let name):
      guard PickleHazards.callers.contains(name) else { return nil }
    case .object(let object):
      // The results of `functools.partial`, `getattr` and the like.
      if case .tuple(let items) = node(object.arguments) { suspects += items }
    default: break
    }
    if case .tuple(let items) = node(arguments) { suspects += items }
    return suspects.first(where: isHarmful)
  }

  /// Judges calls of functions that are harmless only with visible arguments.
  private func judgementOfUse(
    _ callee: PickleGraph.Reference, _ arguments: PickleGraph.Reference
  ) -> PickleGlobalJudgement? {
    guard case .tuple(let parts) = node(arguments), let first = parts.first else {
      return name(of: callee) == "torch.storage._load_from_bytes"
        ? .init(.dangerous, "unpickles computed data") : nil
    }
    switch name(of: callee) {
    case "torch.storage._load_from_bytes":
      switch node(first) {
      case .bytes, .text: return nil
      case .object(let object):
        if name(of: object.callee) == "_codecs.encode",
          case .tuple(let inner) = node(object.arguments), inner.count == 2,
          case .text = node(inner[0]), isPlainEncoding(inner[1])
        {
          return nil
        }
        return .init(.dangerous, "unpickles computed data")
      default: return .init(.dangerous, "unpickles computed data")
      }
    case "_codecs.encode":
      guard parts.count == 2, isPlainEncoding(parts[1]) else {
        return .init(.unknown, "hides bytes by an encoding")
      }
      return nil
    default: return nil
    }
  }

  private func isPlainEncoding(_ reference: PickleGraph.Reference) -> Bool {
    guard case .text(let encoding) = node(reference) else { return false }
    return ["latin1", "latin-1", "iso-8859-1", "utf-8", "utf8", "ascii"].contains(encoding)
  }

  private mutating func build() throws {
    let state = try pop()
    let target = try top()
    if isAuditing {
      switch node(target) {
      case .object(let object):
        events.append(
          PickleEvent(
            .state(of: name(of: object.callee), isGlobal: false), opcode: .build,
            offset: position))
      case .global(let name):
        events.append(
          PickleEvent(.state(of: name, isGlobal: true), opcode: .build, offset: position))
      default: break
      }
    }
    try change(
      target,
      { node in
        guard case .object(var object) = node, object.state == nil else { return false }
        object.state = state
        node = .object(object)
        return true
      }, orFail: "the pickle sets the state of something without a state")
  }

  /// Pushes an object by its persistent identifier. torch writes a class whose source it keeps as
  /// an identifier that holds the class: `('module', class, file, source)`, and before 0.1.10
  /// `(class, file, source)`.
  private mutating func pushPersistent(
    _ identifier: PickleGraph.Reference, by opcode: PickleOpcode
  ) throws {
    if isAuditing {
      events.append(
        PickleEvent(
          .persistentIdentifier(summary(of: identifier)), opcode: opcode, offset: position))
    }
    if case .tuple(let parts) = node(identifier) {
      if parts.count == 4, case .text("module") = node(parts[0]), case .global = node(parts[1]) {
        return push(parts[1])
      }
      if parts.count == 3, case .global = node(parts[0]) { return push(parts[0]) }
    }
    try push(.persistent(identifier))
  }

  // MARK: Records

  /// Returns the dotted name of a global, or `nil` for a computed object.
  private func name(of reference: PickleGraph.Reference) -> String? {
    if case .global(let name) = node(reference) { return name }
    return nil
  }

  /// Returns a readable abbreviation of an argument.
  private func summary(of reference: PickleGraph.Reference, depth: Int = 0) -> String {
    switch node(reference) {
    case .none: return "None"
    case .boolean(let value): return value ? "True" : "False"
    case .integer(let value): return "\(value)"
    case .largeInteger(let digits): return "\(digits.prefix(20))"
    case .real(let value): return "\(value)"
    case .text(let text): return text.count <= 60 ? "'\(text)'" : "'\(text.prefix(60))…'"
    case .bytes(let bytes): return counted(bytes.count, "byte")
    case .global(let name): return name
    case .object(let object): return "\(name(of: object.callee) ?? "…")(…)"
    case .persistent: return "a persistent object"
    case .set(let items): return "a set of \(items.count)"
    case .dictionary(let items): return "a dictionary of \(items.count)"
    case .tuple(let items), .list(let items):
      guard depth < 2 else { return "…" }
      let shown = items.prefix(6).map { summary(of: $0, depth: depth + 1) }
      return "(\((shown + (items.count > 6 ? ["…"] : [])).joined(separator: ", ")))"
    }
  }
}
