import Storage

extension PyTorchObjectReader {
  /// Returns the items of a tuple, a list or a `torch.Size`.
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

  /// Returns the name of the class or function that a call would call.
  func callee(of object: PickleGraph.Object) throws -> String {
    try name(ofFunction: object.callee, depth: 0)
  }

  /// Returns the name of a class or function at `reference`, or of the result of a call there.
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
    default: throw ModelError.malformed("the pickle calls something that is not a global")
    }
  }

  func arguments(of object: PickleGraph.Object) throws -> [PickleGraph.Reference] {
    guard case .tuple(let arguments) = node(object.arguments) else {
      throw ModelError.malformed("the pickle calls with something that is not a tuple")
    }
    return arguments
  }

  /// Refuses an object that is modified after its creation.
  func requirePlain(_ object: PickleGraph.Object) throws {
    guard object.elements.isEmpty, object.items.isEmpty, object.state == nil else {
      throw ModelError.unsupported(
        "a pickled '\(try callee(of: object))' with attributes or items is not supported")
    }
  }

  /// Whether the object at `reference` is or contains tensors or arrays; also `true` if the search
  /// would take too long.
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

  /// Returns the class of the object at `reference`, by its name in the file.
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

  /// Returns the leaf at `reference`, which is neither a container nor a tensor.
  mutating func value(of reference: PickleGraph.Reference) throws -> ArchiveValue {
    if let value = try value(ofLeaf: reference) { return value }
    throw ModelError.malformed("the pickle has a container where a value belongs")
  }

  /// Returns a dictionary's key; a key that is neither a string nor a number becomes a string.
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

  /// Returns the value at `reference`, or `nil` for containers, tensors and opaque objects.
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

  /// Returns the value that a call makes, or `nil` when it makes something else.
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

  /// Returns the bytes that an opcode or a call stands for, or `nil` for anything else.
  func bytes(at reference: PickleGraph.Reference) throws -> SharedBytes? {
    switch node(reference) {
    case .bytes(let bytes): return bytes
    // Python 2 byte strings that happen to be UTF-8.
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

  /// Encodes pickled bytes, which Python 3 writes as Latin-1 text in protocols without bytes.
  private func encode(_ text: String, _ encoding: String) throws -> [UInt8] {
    guard encoding == "latin1" || encoding == "latin-1" else {
      throw ModelError.unsupported("bytes pickled in the encoding '\(encoding)' are not supported")
    }
    return try text.unicodeScalars.map { scalar in
      guard let byte = UInt8(exactly: scalar.value) else {
        throw ModelError.malformed("pickled bytes hold the character \(scalar.value)")
      }
      return byte
    }
  }
}

/// Tensors of several arrays, namely sparse, quantized and nested ones, read as a dictionary of
/// parts.
extension PyTorchObjectReader {
  /// Reads the parts of the sparse, quantized or nested tensor that a call would rebuild, possibly
  /// inside a parameter; `nil` when the call makes something else.
  mutating func components(
    of object: PickleGraph.Object, named name: String
  ) throws -> ArchiveStructure? {
    let object = try data(of: object)
    switch try callee(of: object) {
    case "torch._utils._rebuild_sparse_tensor":
      try requirePlain(object)
      return try sparse(try arguments(of: object), named: name)
    case "torch._utils._rebuild_qtensor":
      try requirePlain(object)
      return try quantized(try arguments(of: object), named: name)
    case "torch._utils._rebuild_nested_tensor":
      try requirePlain(object)
      return try nested(try arguments(of: object), named: name)
    default: return nil
    }
  }

  /// Returns the tensor inside a parameter, or any other object itself.
  private func data(of object: PickleGraph.Object) throws -> PickleGraph.Object {
    var object = object
    for _ in 0..<8 {
      switch try callee(of: object) {
      case "torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state",
        "torch.nn.parameter.Parameter":
        guard let data = try arguments(of: object).first, case .object(let inner) = node(data)
        else { return object }
        object = inner
      default: return object
      }
    }
    return object
  }

  /// Reads the parts of a subclass that wraps other tensors, such as a DTensor; `nil` for anything
  /// else.
  ///
  /// Only the code of its class can assemble such a tensor, except for a DTensor of one process,
  /// whose local tensor is the whole.
  mutating func wrapper(
    _ object: PickleGraph.Object, _ reference: PickleGraph.Reference, named name: String
  ) throws -> ArchiveStructure? {
    let object = try data(of: object)
    let arguments = try arguments(of: object)
    guard try callee(of: object) == "torch._tensor._rebuild_from_type_v2", arguments.count == 4,
      case .global("torch._utils._rebuild_wrapper_subclass") = node(arguments[0]),
      case .global(let type) = node(arguments[1]), let description = sequence(arguments[2]),
      description.count >= 3
    else { return nil }
    let shape = try integers(description[2], "shape")
    var parts = Parts(className: type, arguments: [], elements: [], items: [])
    addState(arguments[3], to: &parts)
    var attributes: [PickleGraph.Item] = []
    for item in parts.attributes where holdsTensors(below: item.value) { attributes.append(item) }
    let isDistributed = type.split(separator: ".").last == "DTensor"
    if isDistributed, let local = attributes.first(where: { isText($0.key, "_local_tensor") }) {
      if try isWhole(local.value, of: shape, parts.attributes) {
        notes.add("DTensors whose local part is the whole tensor are read as plain tensors")
        return try structure(of: local.value, named: name)
      }
      attributes = [local]
    }
    let place = name.isEmpty ? "tensor" : name
    let kept = try attributes.map { attribute in
      "'\(place).\(ArchiveStructure.component(of: try key(of: attribute.key)))'"
    }
    let entries = try entries(of: attributes, named: place)
    let whole =
      isDistributed
      ? "the file has only one process's part of this tensor \(shape); save its full_tensor(), or "
        + "gather the state dict first"
      : "only its class's own code can put the tensor together; save its dequantize() or "
        + "full_tensor()"
    _ = leaveOut(
      reference, named: name,
      because: kept.isEmpty ? whole : "\(whole); parts are kept as \(kept.joined(separator: ", "))")
    return .dictionary(entries, isOrdered: false)
  }

  private func isText(_ reference: PickleGraph.Reference, _ text: String) -> Bool {
    if case .text(text) = node(reference) { true } else { false }
  }

  /// Whether the local part of a DTensor has the whole shape, and is not a summand.
  private mutating func isWhole(
    _ local: PickleGraph.Reference, of shape: [Int], _ attributes: [PickleGraph.Item]
  ) throws -> Bool {
    guard case .object(let object) = node(local), let tensor = try? tensor(of: object),
      tensor.shape.dimensions == shape,
      let specification = attributes.first(where: { isText($0.key, "_spec") }),
      case .object(let record) = node(specification.value)
    else {
      forgetAttachments()
      return false
    }
    forgetAttachments()
    var parts = Parts(className: "", arguments: [], elements: [], items: [])
    if let state = record.state { addState(state, to: &parts) }
    // A summand, to be added up over several processes, has the sum's shape.
    guard let placements = parts.attributes.first(where: { isText($0.key, "placements") }),
      let items = sequence(placements.value)
    else { return false }
    return items.allSatisfy { item in
      ["Shard", "_StridedShard", "Replicate"].contains(
        kind(of: item).split(separator: ".").last.map(String.init) ?? "")
    }
  }

  private mutating func sparse(
    _ arguments: [PickleGraph.Reference], named name: String
  ) throws -> ArchiveStructure {
    guard arguments.count == 2, let parts = sequence(arguments[1]),
      case .text(let layout)? = try value(ofLeaf: arguments[0])
    else { throw ModelError.unsupported("a sparse tensor is pickled in an unknown way") }
    let keys: [String]
    switch (layout, parts.count) {
    case ("torch.sparse_coo", 3): keys = ["indices", "values", "size"]
    case ("torch.sparse_coo", 4): keys = ["indices", "values", "size", "is_coalesced"]
    case ("torch.sparse_csr", 4), ("torch.sparse_bsr", 4):
      keys = ["crow_indices", "col_indices", "values", "size"]
    case ("torch.sparse_csc", 4), ("torch.sparse_bsc", 4):
      keys = ["ccol_indices", "row_indices", "values", "size"]
    default:
      throw ModelError.unsupported("sparse tensors of the layout '\(layout)' are not supported")
    }
    notes.add("sparse tensors are read as their indices and values")
    var entries: [ArchiveStructure.Entry] = []
    for (key, part) in zip(keys, parts) { entries.append(try entry(key, part, in: name)) }
    entries.append(try entry("layout", arguments[0], in: name))
    return .dictionary(entries, isOrdered: false)
  }

  private mutating func quantized(
    _ arguments: [PickleGraph.Reference], named name: String
  ) throws -> ArchiveStructure {
    guard arguments.count == 7, let parameters = sequence(arguments[4]),
      let first = parameters.first, case .global(let scheme) = node(first)
    else { throw ModelError.unsupported("a quantized tensor is pickled in an unknown way") }
    let keys: [String]
    switch (scheme, parameters.count) {
    case ("torch.per_tensor_affine", 3): keys = ["scale", "zero_point"]
    case ("torch.per_channel_affine", 4), ("torch.per_channel_affine_float_qparams", 4):
      keys = ["scales", "zero_points", "axis"]
    default:
      throw ModelError.unsupported("the quantization scheme '\(scheme)' is not supported")
    }
    notes.add("quantized tensors are read as their integers, scales and zero points")
    let integers = try stridedTensor(arguments, dtype: nil, isQuantized: true)
    let integersName = ArchiveStructure.join(name, "int_repr")
    var entries = [
      ArchiveStructure.Entry(
        key: .text("int_repr"), value: try leaf(integers, named: integersName))
    ]
    for (key, part) in zip(keys, parameters.dropFirst()) {
      entries.append(try entry(key, part, in: name))
    }
    entries.append(try entry("qscheme", first, in: name))
    return .dictionary(entries, isOrdered: false)
  }

  private mutating func nested(
    _ arguments: [PickleGraph.Reference], named name: String
  ) throws -> ArchiveStructure {
    guard arguments.count == 4 else {
      throw ModelError.unsupported("a nested tensor is pickled in an unknown way")
    }
    notes.add("nested tensors are read as their buffer, sizes, strides and offsets")
    var entries: [ArchiveStructure.Entry] = []
    for (key, part) in zip(["buffer", "sizes", "strides", "storage_offsets"], arguments) {
      entries.append(try entry(key, part, in: name))
    }
    return .dictionary(entries, isOrdered: false)
  }
}
