/// A storage as a tensor sees it.
struct PyTorchStorageView {
  let storage: TensorStorage
  /// Of an untyped storage, what the tensor says; bytes if it says nothing.
  let elementType: ElementType
  let storageClass: String
  /// Where the elements begin, for a view of a storage.
  var elementOffset = 0
  let elementCount: Int
  let isQuantized: Bool
}

/// A storage's identifier: `('storage', class, key, location, count[, view])`.
struct PyTorchStorageIdentifier {
  let storageClass: String
  let key: String
  let location: String
  /// Elements of the class, or bytes where it is untyped.
  let count: Int
  /// For views of storages, which PyTorch wrote until 1.5: where they begin, and their length.
  let view: (offset: Int, count: Int)?

  /// - Throws: `FormatError` for identifiers of another form.
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

  private static let unknown = FormatError.malformed(
    "a tensor's storage is identified in an unknown way")

  var isUntyped: Bool { storageClass == "torch.storage.UntypedStorage" }

  var isQuantized: Bool { PyTorchTypes.quantizedElementType(ofStorageClass: storageClass) != nil }

  /// The type that `count` counts.
  ///
  /// - Throws: `FormatError` for storage classes that are not supported.
  func elementType() throws -> ElementType {
    if isUntyped { return .uint8 }
    guard
      let type = PyTorchTypes.elementType(ofStorageClass: storageClass)
        ?? PyTorchTypes.quantizedElementType(ofStorageClass: storageClass)
    else {
      throw FormatError.unsupported("storages of the class '\(storageClass)' are not supported")
    }
    return type
  }

  func byteCount() throws -> Int {
    guard let byteCount = try elementType().byteCount(forElements: count) else {
      throw FormatError.malformed("a storage of \(counted(count, "element")) is impossible")
    }
    return byteCount
  }
}

/// A storage that was pickled as the bytes of a checkpoint of its own.
struct PyTorchNestedStorage {
  let storage: TensorStorage
  let identifier: PyTorchStorageIdentifier
}

extension PyTorchObjectReader {
  /// The storage at `reference`.
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
      throw FormatError.unsupported(Self.withoutData)
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
      throw FormatError.malformed("a tensor with a dtype lies in a storage of another one")
    }
    let elementType = try dtype ?? identifier.elementType()
    let width = max(1, elementType.byteWidth ?? 1)
    var view = PyTorchStorageView(
      storage: storage, elementType: elementType, storageClass: identifier.storageClass,
      elementCount: identifier.view?.count ?? storage.byteCount / width,
      isQuantized: identifier.isQuantized)
    if let part = identifier.view {
      guard part.offset <= identifier.count, part.count <= identifier.count - part.offset else {
        throw FormatError.mismatch(
          expected: "a view inside a storage of \(identifier.count)",
          found: "\(part.count) from \(part.offset)")
      }
      view.elementOffset = part.offset
    }
    return view
  }

  /// What a bare number as an identifier stands for.
  func numbered(_ identifier: PickleGraph.Reference) -> PyTorchNumberedObject? {
    switch node(identifier) {
    case .integer(let number): storages.object(numbered: number)
    case .text(let digits): Int(digits).flatMap { storages.object(numbered: $0) }
    default: nil
    }
  }

  /// A storage, or a tensor by its number, that stands outside a tensor: all its elements.
  mutating func storageAsTensor(_ reference: PickleGraph.Reference) throws -> Tensor {
    if case .persistent(let number) = node(reference), case .tensor(let tensor)? = numbered(number)
    {
      return tensor
    }
    let view = try storageView(reference)
    guard let shape = Shape([view.elementCount]) else {
      throw FormatError.malformed(
        "a storage of \(counted(view.elementCount, "element")) is impossible")
    }
    return try Tensor(
      elementType: view.elementType, shape: shape, storage: view.storage,
      elementOffset: view.elementOffset, strides: [1])
  }

  /// Python's own pickling of a tensor writes its storage as a small unzipped checkpoint.
  private mutating func nestedStorage(
    _ object: PickleGraph.Object, _ reference: PickleGraph.Reference
  ) throws -> PyTorchNestedStorage {
    if let known = nestedStorages[reference] { return known }
    let arguments = try arguments(of: object)
    guard arguments.count == 1, let bytes = try bytes(at: arguments[0]) else {
      throw FormatError.malformed("a pickled storage is made of something that is no bytes")
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
