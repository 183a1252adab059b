import Storage

extension PyTorchObjectReader {
  private static let functionPrefix = "torch._utils._rebuild_"
  /// Parameters and tensor subclasses wrap a tensor; more wrappers than this are a sign of malice.
  private static let wrapperLimit = 8

  /// The reason for leaving out tensors on the device "meta".
  static let withoutData =
    "it has no data (device 'meta'); load the weights into the model before saving it"

  /// The reasons for refusing objects that torch can save but an array of numbers cannot hold.
  private static let refusals: [String: String] = [
    "qtensor": "a quantized tensor inside another object is not supported",
    "sparse_tensor": "a sparse tensor inside another object is not supported",
    "nested_tensor": "a nested tensor inside another object is not supported",
    "meta_tensor_no_storage": withoutData,
    "wrapper_subclass": "a tensor of a subclass that the file does not name",
  ]

  /// Returns the tensor that a call would rebuild, or `nil` when the call makes something else.
  mutating func tensor(of object: PickleGraph.Object) throws -> Tensor? {
    let callee = try callee(of: object)
    guard Self.makesTensor(callee), !isOpaqueSubclass(object, callee) else {
      guard !callee.hasPrefix("torch.") || !callee.hasSuffix("Tensor") else {
        throw ModelError.unsupported("tensors made by calling '\(callee)' are not supported")
      }
      return nil
    }
    return try rebuild(object, depth: 0)
  }

  private static let parameterClasses: Set<String> = [
    "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer", "torch.autograd.variable.Variable",
  ]

  private static func makesTensor(_ callee: String) -> Bool {
    callee.hasPrefix(functionPrefix) || callee == "torch._tensor._rebuild_from_type_v2"
      || parameterClasses.contains(callee)
  }

  /// Whether a tensor subclass brings its own function to rebuild it. The result of such a function
  /// is unknown, but the arguments and attributes can be read.
  private func isOpaqueSubclass(_ object: PickleGraph.Object, _ callee: String) -> Bool {
    guard callee == "torch._tensor._rebuild_from_type_v2",
      let first = try? arguments(of: object).first, case .global(let inner) = node(first)
    else { return false }
    return !Self.makesTensor(inner)
  }

  private mutating func rebuild(_ object: PickleGraph.Object, depth: Int) throws -> Tensor {
    let callee = try callee(of: object)
    guard Self.parameterClasses.contains(callee) else {
      try requirePlain(object)
      return try rebuild(callee, try arguments(of: object), depth: depth)
    }
    guard object.elements.isEmpty, object.items.isEmpty else {
      throw ModelError.malformed("a parameter is pickled with items")
    }
    var arguments = try arguments(of: object)
    if let state = object.state {
      // PyTorch before 0.4: (requires_grad, volatile, hooks), possibly preceded by the data.
      if arguments.isEmpty, case .tuple(let parts) = node(state), let data = parts.first {
        arguments = [data]
      } else {
        try attach(state: state)
      }
    }
    return try rebuild(callee, arguments, depth: depth)
  }

  private mutating func rebuild(
    _ function: String, _ arguments: [PickleGraph.Reference], depth: Int
  ) throws -> Tensor {
    guard depth < Self.wrapperLimit else {
      throw ModelError(
        .limitExceeded(
          what: "the wrappers around a tensor", limit: Self.wrapperLimit, found: "more"))
    }
    switch function {
    case "torch._utils._rebuild_tensor" where arguments.count == 4:
      return try stridedTensor(arguments, dtype: nil)
    case "torch._utils._rebuild_tensor_v2" where (6...7).contains(arguments.count):
      noteHooks(arguments[5])
      let lazyBits = try arguments.count == 7 ? lazyBits(arguments[6]) : LazyTensorBits()
      return try lazyBits.resolved(try stridedTensor(arguments, dtype: nil))
    case "torch._utils._rebuild_tensor_v3" where (7...8).contains(arguments.count):
      noteHooks(arguments[5])
      let lazyBits = try arguments.count == 8 ? lazyBits(arguments[7]) : LazyTensorBits()
      return try lazyBits.resolved(try stridedTensor(arguments, dtype: arguments[6]))
    case _ where Self.parameterClasses.contains(function) && (1...2).contains(arguments.count):
      return try rebuild(arguments[0], depth: depth + 1)
    case "torch._utils._rebuild_device_tensor_from_numpy" where arguments.count == 4,
      "torch._utils._rebuild_xla_tensor" where arguments.count == 4:
      return try deviceTensor(try numPyTensor(arguments[0]), dtype: arguments[1])
    case "torch._utils._rebuild_device_tensor_from_cpu_tensor" where arguments.count == 4:
      return try deviceTensor(try rebuild(arguments[0], depth: depth + 1), dtype: arguments[1])
    case "torch._utils._rebuild_parameter" where arguments.count == 3:
      noteHooks(arguments[2])
      return try rebuild(arguments[0], depth: depth + 1)
    case "torch._utils._rebuild_parameter_with_state" where arguments.count == 4:
      noteHooks(arguments[2])
      try attach(state: arguments[3])
      return try rebuild(arguments[0], depth: depth + 1)
    case "torch._tensor._rebuild_from_type_v2" where arguments.count == 4:
      guard case .global(let inner) = node(arguments[0]),
        case .global(let type) = node(arguments[1]),
        case .tuple(let innerArguments) = node(arguments[2])
      else { throw ModelError.unsupported("a tensor of a class is pickled in an unknown way") }
      if type != "torch.Tensor", type != "torch.nn.parameter.Parameter" {
        notes.add("tensors of the class '\(type)' are read as plain tensors")
      }
      try attach(state: arguments[3])
      return try rebuild(inner, innerArguments, depth: depth + 1)
    default:
      if function.hasPrefix(Self.functionPrefix),
        let refusal = Self.refusals[String(function.dropFirst(Self.functionPrefix.count))]
      {
        throw ModelError.unsupported(refusal)
      }
      throw ModelError.unsupported(
        "'\(function)' is called with \(counted(arguments.count, "argument"))")
    }
  }

  private mutating func rebuild(
    _ reference: PickleGraph.Reference, depth: Int
  ) throws -> Tensor {
    switch node(reference) {
    case .object(let object): return try rebuild(object, depth: depth)
    case .persistent(let identifier):
      if case .tensor(let tensor)? = numbered(identifier) { return tensor }
      fallthrough
    default: throw ModelError.malformed("a parameter is pickled without its tensor")
    }
  }

  /// Returns a tensor that lay on a device without storages and was saved through the CPU.
  private func deviceTensor(_ tensor: Tensor, dtype: PickleGraph.Reference) throws -> Tensor {
    guard case .global(let name) = node(dtype),
      PyTorchTypes.elementType(ofDtype: name) == tensor.elementType
    else {
      throw ModelError.unsupported("tensors saved as numbers of another type are not supported")
    }
    return tensor
  }

  /// Returns a tensor from (storage, offset, sizes, strides, …).
  ///
  /// - Parameter isQuantized: whether the storage has to hold quantized integers.
  mutating func stridedTensor(
    _ arguments: [PickleGraph.Reference], dtype: PickleGraph.Reference?, isQuantized: Bool = false
  ) throws -> Tensor {
    let offset = try integer(arguments[1], "storage offset")
    let dimensions = try integers(arguments[2], "shape")
    let strides = try integers(arguments[3], "strides")
    guard let shape = Shape(dimensions) else {
      throw ModelError.malformed("the shape \(dimensions) is negative or overflows")
    }
    var elementType: ElementType?
    if let dtype {
      guard case .global(let name) = node(dtype) else {
        throw ModelError.malformed("a tensor's dtype is invalid")
      }
      guard let known = PyTorchTypes.elementType(ofDtype: name) else {
        throw ModelError.unsupported("tensors of '\(name)' are not supported")
      }
      elementType = known
    }
    // torch treats two 4-bit numbers as one element, and its shape counts those.
    let isPacked = elementType == .float4E2M1
    if isPacked { elementType = .uint8 }
    let view = try storageView(arguments[0], dtype: elementType)
    guard view.isQuantized == isQuantized else {
      throw ModelError.unsupported(
        isQuantized
          ? "a quantized tensor in a storage of plain numbers is not supported"
          : "storages of the class '\(view.storageClass)' are not supported")
    }
    let (elementOffset, overflow) = view.elementOffset.addingReportingOverflow(offset)
    guard !overflow, offset >= 0 else {
      throw ModelError.malformed("a tensor's storage offset \(offset) is impossible")
    }
    let tensor = try Tensor(
      elementType: view.elementType, shape: shape, storage: view.storage,
      elementOffset: elementOffset, strides: strides)
    guard isPacked else { return tensor }
    guard let last = dimensions.last, let unpacked = Shape(dimensions.dropLast() + [2 * last])
    else {
      throw ModelError.unsupported("a scalar of 'torch.float4_e2m1fn_x2' is two numbers")
    }
    return try tensor.reinterpreted(as: .float4E2M1, shape: unpacked)
  }

  func integer(_ reference: PickleGraph.Reference, _ what: String) throws -> Int {
    guard case .integer(let value) = node(reference) else {
      throw ModelError.malformed("a tensor's \(what) is not an integer")
    }
    return value
  }

  func integers(_ reference: PickleGraph.Reference, _ what: String) throws -> [Int] {
    guard let items = sequence(reference) else {
      throw ModelError.malformed("a tensor's \(what) is not a tuple")
    }
    guard items.count <= 64 else {
      throw ModelError(
        .limitExceeded(what: "a tensor's dimensions", limit: 64, found: "\(items.count)"))
    }
    return try items.map { try integer($0, what) }
  }

  /// Notes that hooks, which are functions, are left out; torch writes an empty dictionary for no
  /// hooks.
  private mutating func noteHooks(_ reference: PickleGraph.Reference) {
    switch node(reference) {
    case .none: return
    case .dictionary(let items) where items.isEmpty: return
    case .object(let object):
      if object.items.isEmpty, let arguments = try? arguments(of: object), arguments.isEmpty {
        return
      }
    default: break
    }
    notes.add("backward hooks of tensors are left out")
  }

  /// Attaches the attributes of a tensor that was pickled with `state`.
  private mutating func attach(state: PickleGraph.Reference) throws {
    var parts = Parts(className: "", arguments: [], elements: [], items: [])
    addState(state, to: &parts)
    try attach(attributes: parts.attributes)
    guard let state = parts.state, holdsTensors(below: state) else { return }
    attach(state, as: "__state__")
  }

  /// Returns whether a tensor's metadata asks to conjugate or negate the stored numbers.
  private func lazyBits(_ reference: PickleGraph.Reference) throws -> LazyTensorBits {
    switch node(reference) {
    case .none: return LazyTensorBits()
    case .dictionary(let items):
      var bits = LazyTensorBits()
      for item in items {
        switch (node(item.key), node(item.value)) {
        case (.text("conj"), .boolean(let isConjugated)): bits.isConjugated = isConjugated
        case (.text("neg"), .boolean(let isNegated)): bits.isNegated = isNegated
        default:
          throw ModelError.unsupported("tensors with their own metadata are not supported")
        }
      }
      return bits
    default: throw ModelError.malformed("a tensor's metadata is not a dictionary")
    }
  }
}

/// A storage as a tensor sees it.
struct PyTorchStorageView {
  let storage: TensorStorage
  /// The element type; for an untyped storage, the tensor's, or bytes if the tensor has none.
  let elementType: ElementType
  let storageClass: String
  /// The first element, for a view of a storage.
  var elementOffset = 0
  let elementCount: Int
  let isQuantized: Bool
}

/// A storage's identifier: `('storage', class, key, location, count[, view])`.
struct PyTorchStorageIdentifier {
  let storageClass: String
  let key: String
  let location: String
  /// The number of elements of the class, or of bytes if it is untyped.
  let count: Int
  /// The start and length of a view of a storage, which PyTorch wrote until 1.5.
  let view: (offset: Int, count: Int)?

  /// Parses an identifier.
  ///
  /// - Throws: `ModelError` for identifiers of another form.
  init(_ reference: PickleGraph.Reference, in graph: PickleGraph) throws {
    guard case .persistent(let identifier) = graph.nodes[reference],
      case .tuple(let references) = graph.nodes[identifier], (5...6).contains(references.count)
    else { throw Self.unknown }
    let parts = references.map { graph.nodes[$0] }
    guard case .text("storage") = parts[0], case .global(let storageClass) = parts[1],
      case .text(let location) = parts[3], case .integer(let count) = parts[4], count >= 0
    else { throw Self.unknown }
    self.storageClass = storageClass
    self.location = location
    self.count = count
    switch parts[2] {
    case .text(let key): self.key = key
    case .integer(let key): self.key = "\(key)"
    default: throw Self.unknown
    }
    guard parts.count == 6 else {
      view = nil
      return
    }
    switch parts[5] {
    case .none: view = nil
    case .tuple(let items) where items.count == 3:
      guard case .integer(let offset) = graph.nodes[items[1]],
        case .integer(let length) = graph.nodes[items[2]], offset >= 0, length >= 0
      else { throw Self.unknown }
      view = (offset, length)
    default: throw Self.unknown
    }
  }

  private static let unknown = ModelError.malformed(
    "a tensor's storage is identified in an unknown way")

  var isUntyped: Bool { storageClass == "torch.storage.UntypedStorage" }

  var isQuantized: Bool { PyTorchTypes.quantizedElementType(ofStorageClass: storageClass) != nil }

  /// Returns the type of the elements that `count` counts.
  ///
  /// - Throws: `ModelError` for storage classes that are not supported.
  func elementType() throws -> ElementType {
    if isUntyped { return .uint8 }
    guard
      let type = PyTorchTypes.elementType(ofStorageClass: storageClass)
        ?? PyTorchTypes.quantizedElementType(ofStorageClass: storageClass)
    else {
      throw ModelError.unsupported("storages of the class '\(storageClass)' are not supported")
    }
    return type
  }

  func byteCount() throws -> Int {
    guard let byteCount = try elementType().byteCount(forElements: count) else {
      throw ModelError.malformed("a storage of \(counted(count, "element")) is impossible")
    }
    return byteCount
  }
}

/// A storage that was pickled as the bytes of its own checkpoint.
struct PyTorchNestedStorage {
  let storage: TensorStorage
  let identifier: PyTorchStorageIdentifier
}

extension PyTorchObjectReader {
  /// Returns the storage at `reference`.
  ///
  /// - Parameter dtype: the type of a tensor in an untyped storage.
  mutating func storageView(
    _ reference: PickleGraph.Reference, dtype: ElementType? = nil
  ) throws -> PyTorchStorageView {
    if case .object(let object) = node(reference),
      try callee(of: object) == "torch.storage._load_from_bytes"
    {
      let nested = try nestedStorage(object, reference)
      return try view(of: nested.storage, nested.identifier, dtype: dtype)
    }
    if case .persistent(let number) = node(reference),
      case .storage(let storage, let elementType)? = numbered(number)
    {
      return PyTorchStorageView(
        storage: storage, elementType: elementType, storageClass: "\(elementType)",
        elementCount: storage.byteCount / max(1, elementType.byteWidth ?? 1), isQuantized: false)
    }
    let identifier = try PyTorchStorageIdentifier(reference, in: graph)
    guard identifier.location != "meta" else {
      throw ModelError.unsupported(Self.withoutData)
    }
    let elementType = try identifier.elementType()
    let storage = try storages.storage(
      identifier.key, byteCount: try identifier.byteCount(),
      elementType: identifier.isUntyped ? dtype ?? .uint8 : elementType)
    return try view(of: storage, identifier, dtype: dtype)
  }

  private func view(
    of storage: TensorStorage, _ identifier: PyTorchStorageIdentifier, dtype: ElementType?
  ) throws -> PyTorchStorageView {
    guard dtype == nil || identifier.isUntyped else {
      throw ModelError.malformed("a tensor's dtype differs from that of its storage")
    }
    let elementType = try dtype ?? identifier.elementType()
    let width = max(1, elementType.byteWidth ?? 1)
    var view = PyTorchStorageView(
      storage: storage, elementType: elementType, storageClass: identifier.storageClass,
      elementCount: identifier.view?.count ?? storage.byteCount / width,
      isQuantized: identifier.isQuantized)
    if let part = identifier.view {
      guard part.offset <= identifier.count, part.count <= identifier.count - part.offset else {
        throw ModelError.mismatch(
          expected: "a view inside a storage of \(identifier.count)",
          found: "\(part.count) from \(part.offset)")
      }
      view.elementOffset = part.offset
    }
    return view
  }

  /// Returns the object that a bare number stands for as an identifier.
  func numbered(_ identifier: PickleGraph.Reference) -> PyTorchNumberedObject? {
    switch node(identifier) {
    case .integer(let number): storages.object(numbered: number)
    case .text(let digits): Int(digits).flatMap { storages.object(numbered: $0) }
    default: nil
    }
  }

  /// Returns all elements of a storage outside a tensor, or a tensor identified by its number.
  mutating func storageAsTensor(_ reference: PickleGraph.Reference) throws -> Tensor {
    if case .persistent(let number) = node(reference), case .tensor(let tensor)? = numbered(number)
    {
      return tensor
    }
    let view = try storageView(reference)
    guard let shape = Shape([view.elementCount]) else {
      throw ModelError.malformed(
        "a storage of \(counted(view.elementCount, "element")) is impossible")
    }
    return try Tensor(
      elementType: view.elementType, shape: shape, storage: view.storage,
      elementOffset: view.elementOffset, strides: [1])
  }

  /// Opens a nested storage, which Python's own pickling writes as a small unzipped checkpoint.
  private mutating func nestedStorage(
    _ object: PickleGraph.Object, _ reference: PickleGraph.Reference
  ) throws -> PyTorchNestedStorage {
    if let known = nestedStorages[reference] { return known }
    let arguments = try arguments(of: object)
    guard arguments.count == 1, let bytes = try bytes(at: arguments[0]) else {
      throw ModelError.malformed("a pickled storage is made of something that is not bytes")
    }
    var stream = try PyTorchLegacyStream(parsing: ByteReader(bytes)) { bytes.slice($0) }
    let identifier = try PyTorchStorageIdentifier(stream.graph.root, in: stream.graph)
    let storage = try stream.storage(
      identifier.key, byteCount: try identifier.byteCount(),
      elementType: try identifier.elementType())
    let nested = PyTorchNestedStorage(storage: storage, identifier: identifier)
    nestedStorages[reference] = nested
    return nested
  }
}
