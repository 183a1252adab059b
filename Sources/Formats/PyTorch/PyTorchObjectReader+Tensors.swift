extension PyTorchObjectReader {
  private static let functionPrefix = "torch._utils._rebuild_"
  /// A parameter of a subclass of a tensor: more wrappers than this mean no good.
  private static let wrapperLimit = 8

  /// What torch can save and an array of numbers cannot hold.
  private static let refusals: [String: String] = [
    "qtensor": "quantized tensors are not supported",
    "sparse_tensor": "sparse tensors are not supported",
    "nested_tensor": "nested tensors are not supported",
    "meta_tensor_no_storage": "tensors without data (device 'meta') are not supported",
    "wrapper_subclass": "tensor subclasses without data are not supported",
    "device_tensor_from_numpy": "tensors saved through NumPy are not supported",
    "device_tensor_from_cpu_tensor": "tensors of devices without storages are not supported",
  ]

  /// The tensor that a call would rebuild, or `nil` when the call makes something else.
  mutating func tensor(of object: PickleGraph.Object) throws -> Tensor? {
    let callee = try callee(of: object)
    let isTensor =
      callee.hasPrefix(Self.functionPrefix) || callee == "torch._tensor._rebuild_from_type_v2"
      || callee == "torch.nn.parameter.Parameter"
    guard isTensor else {
      guard !callee.hasSuffix("Tensor") else {
        throw FormatError.unsupported("tensors made by calling '\(callee)' are not supported")
      }
      return nil
    }
    try requirePlain(object)
    return try rebuild(callee, try arguments(of: object), depth: 0)
  }

  private mutating func rebuild(
    _ function: String, _ arguments: [PickleGraph.Reference], depth: Int
  ) throws -> Tensor {
    guard depth < Self.wrapperLimit else {
      throw FormatError(
        .limitExceeded(
          what: "the wrappers around a tensor", limit: Self.wrapperLimit, found: "more"))
    }
    switch function {
    case "torch._utils._rebuild_tensor" where arguments.count == 4:
      return try stridedTensor(arguments, dtype: nil)
    case "torch._utils._rebuild_tensor_v2" where (6...7).contains(arguments.count):
      try requireNoHooks(arguments[5])
      if arguments.count == 7 { try requireNoMetadata(arguments[6]) }
      return try stridedTensor(arguments, dtype: nil)
    case "torch._utils._rebuild_tensor_v3" where (7...8).contains(arguments.count):
      try requireNoHooks(arguments[5])
      if arguments.count == 8 { try requireNoMetadata(arguments[7]) }
      return try stridedTensor(arguments, dtype: arguments[6])
    case "torch.nn.parameter.Parameter" where (1...2).contains(arguments.count):
      return try rebuild(arguments[0], depth: depth + 1)
    case "torch._utils._rebuild_parameter" where arguments.count == 3:
      try requireNoHooks(arguments[2])
      return try rebuild(arguments[0], depth: depth + 1)
    case "torch._utils._rebuild_parameter_with_state" where arguments.count == 4:
      try requireNoHooks(arguments[2])
      try requireNoTensors(below: arguments[3])
      return try rebuild(arguments[0], depth: depth + 1)
    case "torch._tensor._rebuild_from_type_v2" where arguments.count == 4:
      guard case .global(let inner) = node(arguments[0]),
        case .global(let type) = node(arguments[1]),
        case .tuple(let innerArguments) = node(arguments[2])
      else { throw FormatError.malformed("a tensor of a class is pickled in an unknown way") }
      guard type == "torch.Tensor" || type == "torch.nn.parameter.Parameter" else {
        throw FormatError.unsupported("tensors of the class '\(type)' are not supported")
      }
      try requireNoTensors(below: arguments[3])
      return try rebuild(inner, innerArguments, depth: depth + 1)
    default:
      if function.hasPrefix(Self.functionPrefix),
        let refusal = Self.refusals[String(function.dropFirst(Self.functionPrefix.count))]
      {
        throw FormatError.unsupported(refusal)
      }
      throw FormatError.malformed(
        "'\(function)' is called with \(arguments.count) arguments")
    }
  }

  private mutating func rebuild(
    _ reference: PickleGraph.Reference, depth: Int
  ) throws -> Tensor {
    guard case .object(let object) = node(reference) else {
      throw FormatError.malformed("a parameter is pickled without its tensor")
    }
    try requirePlain(object)
    return try rebuild(try callee(of: object), try arguments(of: object), depth: depth)
  }

  /// A tensor from (storage, offset, sizes, strides, …).
  private mutating func stridedTensor(
    _ arguments: [PickleGraph.Reference], dtype: PickleGraph.Reference?
  ) throws -> Tensor {
    let offset = try integer(arguments[1], "storage offset")
    let dimensions = try integers(arguments[2], "shape")
    let strides = try integers(arguments[3], "strides")
    guard let shape = Shape(dimensions) else {
      throw FormatError.malformed("the shape \(dimensions) is negative or overflows")
    }
    let identifier = try StorageIdentifier(arguments[0], in: self)
    var elementType = identifier.elementType
    if let dtype {
      guard identifier.isUntyped else {
        throw FormatError.malformed("a tensor with a dtype lies in a storage of another one")
      }
      guard case .global(let name) = node(dtype) else {
        throw FormatError.malformed("a tensor's dtype is not one")
      }
      guard let known = PyTorchTypes.elementType(ofDtype: name) else {
        throw FormatError.unsupported("tensors of '\(name)' are not supported")
      }
      elementType = known
    }
    // Two 4-bit numbers are one element for torch, and its shape counts those.
    let isPacked = elementType == .float4E2M1
    let storage = try records.storage(
      identifier.key, byteCount: identifier.byteCount,
      elementType: isPacked ? .uint8 : elementType)
    let tensor = try Tensor(
      elementType: isPacked ? .uint8 : elementType, shape: shape, storage: storage,
      elementOffset: offset, strides: strides)
    guard isPacked else { return tensor }
    guard let last = dimensions.last, let unpacked = Shape(dimensions.dropLast() + [2 * last])
    else {
      throw FormatError.unsupported("a scalar of 'torch.float4_e2m1fn_x2' is two numbers")
    }
    return try tensor.reinterpreted(as: .float4E2M1, shape: unpacked)
  }

  private func integer(_ reference: PickleGraph.Reference, _ what: String) throws -> Int {
    guard case .integer(let value) = node(reference) else {
      throw FormatError.malformed("a tensor's \(what) is not an integer")
    }
    return value
  }

  private func integers(_ reference: PickleGraph.Reference, _ what: String) throws -> [Int] {
    guard let items = sequence(reference) else {
      throw FormatError.malformed("a tensor's \(what) is not a tuple")
    }
    guard items.count <= 64 else {
      throw FormatError(
        .limitExceeded(what: "a tensor's dimensions", limit: 64, found: "\(items.count)"))
    }
    return try items.map { try integer($0, what) }
  }

  /// Hooks are functions; torch writes an empty dictionary for them.
  private func requireNoHooks(_ reference: PickleGraph.Reference) throws {
    switch node(reference) {
    case .none: return
    case .dictionary(let items) where items.isEmpty: return
    case .object(let object):
      guard try callee(of: object) == "collections.OrderedDict", object.items.isEmpty,
        try arguments(of: object).isEmpty
      else { break }
      return try requirePlain(object)
    default: break
    }
    throw FormatError.unsupported("tensors with backward hooks are not supported")
  }

  /// Metadata says that the stored numbers are to be conjugated or negated.
  private func requireNoMetadata(_ reference: PickleGraph.Reference) throws {
    switch node(reference) {
    case .none: return
    case .dictionary(let items):
      for item in items {
        guard case .text(let key) = node(item.key) else { break }
        if case .boolean(false) = node(item.value), key == "conj" || key == "neg" { continue }
        throw FormatError.unsupported(
          "lazily changed tensors ('\(key)') are not supported; use resolve_\(key)() before saving")
      }
      return
    default: throw FormatError.malformed("a tensor's metadata is not a dictionary")
    }
  }
}

/// A storage's persistent identifier: ('storage', class, key, location, element count).
private struct StorageIdentifier {
  let key: String
  /// `uint8` for an untyped storage.
  let elementType: ElementType
  let isUntyped: Bool
  let byteCount: Int

  init(_ reference: PickleGraph.Reference, in reader: PyTorchObjectReader) throws {
    guard case .persistent(let identifier) = reader.node(reference),
      case .tuple(let parts) = reader.node(identifier), (5...6).contains(parts.count),
      case .text("storage") = reader.node(parts[0]), case .global(let type) = reader.node(parts[1]),
      case .text(let key) = reader.node(parts[2]), case .text(let location) = reader.node(parts[3]),
      case .integer(let count) = reader.node(parts[4])
    else {
      throw FormatError.malformed("a tensor's storage is identified in an unknown way")
    }
    if parts.count == 6 {
      guard case .none = reader.node(parts[5]) else {
        throw FormatError.unsupported("views of storages are not supported")
      }
    }
    guard location != "meta" else {
      throw FormatError.unsupported("tensors without data (device 'meta') are not supported")
    }
    isUntyped = type == "torch.storage.UntypedStorage"
    guard let elementType = isUntyped ? .uint8 : PyTorchTypes.elementType(ofStorageClass: type)
    else {
      throw FormatError.unsupported("storages of the class '\(type)' are not supported")
    }
    guard count >= 0, let byteCount = elementType.byteCount(forElements: count) else {
      throw FormatError.malformed("a storage of \(count) elements is impossible")
    }
    self.key = key
    self.elementType = elementType
    self.byteCount = byteCount
  }
}
