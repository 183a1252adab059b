import Storage

/// Pickled NumPy arrays and scalars.
extension PyTorchObjectReader {
  /// Returns the array or opaque NumPy object that a call makes, or `nil` when it makes something
  /// else.
  mutating func numPyObject(
    _ object: PickleGraph.Object, named name: String
  ) throws -> ArchiveStructure? {
    guard let array = try pickledArray(object) else { return nil }
    if let subclass = array.subclass { notes.addOpaque(subclass) }
    switch array.content {
    case .bytes:
      if let mask = try array.mask {
        notes.add("masked NumPy arrays are read as their numbers, with their masks beside them")
        attach(try mask.tensor(), as: "mask")
      }
      return try add(array, named: name)
    case .objects(let items):
      guard items.count == array.shape.elementCount else {
        throw ModelError.mismatch(
          expected: "\(counted(array.shape.elementCount, "object")) of a NumPy array",
          found: "\(items.count)")
      }
      if array.shape.rank == 0 { return try structure(of: items[0], named: name) }
      notes.add("NumPy arrays of objects are read as lists")
      return .list(try structures(of: items, named: name))
    }
  }

  /// Returns the tensor of a NumPy array.
  func numPyTensor(_ reference: PickleGraph.Reference) throws -> Tensor {
    guard case .object(let object) = node(reference), let array = try pickledArray(object),
      case .bytes = array.content
    else { throw ModelError.malformed("a tensor's array is pickled in an unknown way") }
    return try array.tensor()
  }

  private mutating func add(
    _ pickled: PickledArray, named name: String
  ) throws -> ArchiveStructure {
    let array = try pickled.array()
    guard array.holdsTexts else { return try leaf(try pickled.tensor(), named: name) }
    var texts = try array.texts()[...]
    return try addTexts(&texts, dimensions: array.header.shape.dimensions[...], named: name)
  }

  private mutating func addTexts(
    _ texts: inout ArraySlice<ArchiveValue>, dimensions: ArraySlice<Int>, named name: String
  ) throws -> ArchiveStructure {
    guard let dimension = dimensions.first else {
      return try leaf(texts.popFirst() ?? .none, named: name)
    }
    guard !texts.isEmpty else { return .list([]) }
    return .list(
      try (0..<dimension).map { index in
        try addTexts(
          &texts, dimensions: dimensions.dropFirst(),
          named: ArchiveStructure.join(name, "\(index)"))
      })
  }

  // MARK: Arrays

  private struct PickledArray {
    enum Content {
      case bytes(SharedBytes)
      case objects([PickleGraph.Reference])
    }

    var type: PickledType
    var shape: Shape
    var isFortranOrder: Bool
    var content: Content
    /// A class other than `numpy.ndarray`.
    var subclass: String?
    /// One Boolean per item of a masked array.
    var maskBytes: SharedBytes?

    /// Returns the array as a `.npy` file would hold it.
    func array() throws -> NPYArray {
      guard case .bytes(let bytes) = content else { throw PyTorchObjectReader.unknownArray }
      return try NPYArray(
        descriptor: type.descriptor, shape: shape, isFortranOrder: isFortranOrder, items: bytes)
    }

    func tensor() throws -> Tensor { try array().tensor(elementType: type.elementType) }

    /// The mask; `nil` if there is none, or it hides nothing.
    var mask: NPYArray? {
      get throws {
        guard let maskBytes, maskBytes.array.contains(where: { $0 != 0 }) else { return nil }
        return try NPYArray(
          descriptor: "|b1", shape: shape, isFortranOrder: isFortranOrder, items: maskBytes)
      }
    }
  }

  /// An element type as the header of a `.npy` file writes it.
  private struct PickledType {
    var descriptor: String
    /// A type of the ml_dtypes package, which NumPy only knows as raw bytes.
    var elementType: ElementType?
  }

  private func pickledArray(_ object: PickleGraph.Object) throws -> PickledArray? {
    let callee = try callee(of: object)
    var arguments = try arguments(of: object)
    if Self.wrapsArray(callee) {
      // (NumPy's function, its arguments, the array's state, facts about the type)
      guard (3...4).contains(arguments.count), case .global(let function) = node(arguments[0]),
        let inner = sequence(arguments[1])
      else { throw ModelError.unsupported("an array is pickled in an unknown way") }
      try requirePlain(object)
      let state = arguments[2]
      arguments = inner
      return try pickledArray(function, arguments, state: state)
    }
    guard object.elements.isEmpty, object.items.isEmpty else { return nil }
    return try pickledArray(callee, arguments, state: object.state)
  }

  /// Whether a function's arguments are those from which NumPy would make an array: JAX's functions
  /// for `jax.Array` and its former classes, and dill's.
  private static func wrapsArray(_ callee: String) -> Bool {
    callee == "dill._dill._create_array"
      || callee.hasPrefix("jax")
        && (callee.hasSuffix("._reconstruct_array") || callee.hasSuffix("reconstruct_device_array"))
  }

  private func pickledArray(
    _ callee: String, _ arguments: [PickleGraph.Reference], state: PickleGraph.Reference?
  ) throws -> PickledArray? {
    switch callee {
    case "numpy.ma.core._mareconstruct", "numpy.ma._mareconstruct":
      // (version, shape, dtype, is Fortran, data, mask, fill value)
      guard let state, case .tuple(let parts) = node(state), parts.count == 7,
        case .boolean(let isFortranOrder) = truth(parts[3]), let bytes = try bytes(at: parts[4]),
        let mask = try self.bytes(at: parts[5])
      else { throw Self.unknownArray }
      return PickledArray(
        type: try type(of: parts[2]), shape: try shape(parts[1]), isFortranOrder: isFortranOrder,
        content: .bytes(bytes), maskBytes: mask)
    case "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct":
      // numpy.ndarray.__setstate__((version, shape, dtype, is Fortran, data))
      guard let state, case .tuple(let parts) = node(state), (4...5).contains(parts.count),
        case .boolean(let isFortranOrder) = truth(parts[parts.count - 2])
      else { throw Self.unknownArray }
      var subclass: String?
      if let first = arguments.first, case .global(let name) = node(first), name != "numpy.ndarray"
      {
        subclass = name
      }
      let last = parts[parts.count - 1]
      let type = try type(of: parts[parts.count - 3])
      let content: PickledArray.Content
      if case .list(let items) = node(last) {
        content = .objects(items)
      } else if let bytes = try bytes(at: last) {
        content = .bytes(bytes)
      } else {
        throw Self.unknownArray
      }
      return PickledArray(
        type: type, shape: try shape(parts[parts.count - 4]),
        isFortranOrder: isFortranOrder, content: content, subclass: subclass)
    case "numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer":
      guard state == nil, arguments.count == 4, let bytes = try bytes(at: arguments[0]),
        case .text(let order) = node(arguments[3]), order == "C" || order == "F"
      else { throw Self.unknownArray }
      return PickledArray(
        type: try type(of: arguments[1]), shape: try shape(arguments[2]),
        isFortranOrder: order == "F", content: .bytes(bytes), subclass: nil)
    default: return nil
    }
  }

  fileprivate static let unknownArray = ModelError.unsupported(
    "a NumPy array is pickled in an unknown way")

  /// Returns a Boolean node; protocols 0 and 1 write Booleans as integers.
  private func truth(_ reference: PickleGraph.Reference) -> PickleGraph.Node {
    switch node(reference) {
    case .integer(let value) where value == 0 || value == 1: .boolean(value == 1)
    case let other: other
    }
  }

  private func shape(_ reference: PickleGraph.Reference) throws -> Shape {
    let dimensions: [Int]
    if case .integer(let length) = node(reference) {
      dimensions = [length]
    } else {
      dimensions = try integers(reference, "shape")
    }
    guard let shape = Shape(dimensions) else {
      throw ModelError.malformed("the shape \(dimensions) is negative or overflows")
    }
    return shape
  }

  /// Returns the element type of `numpy.dtype('f4')` with the state `(version, byte order, …)`, or
  /// of `numpy.dtype(ml_dtypes.bfloat16)`.
  private func type(of reference: PickleGraph.Reference) throws -> PickledType {
    guard case .object(let object) = node(reference), try callee(of: object) == "numpy.dtype",
      let first = try arguments(of: object).first
    else { throw ModelError.unsupported("a NumPy element type is pickled in an unknown way") }
    let code: String
    switch node(first) {
    case .text(let text): code = text
    case .global(let name):
      let parts = name.split(separator: ".")
      guard parts.first == "ml_dtypes", let last = parts.last,
        let type = ElementType(rawValue: String(last)), let width = type.byteWidth
      else {
        throw ModelError.unsupported("the NumPy element type '\(name)' is not supported")
      }
      return PickledType(descriptor: "|V\(width)", elementType: type)
    default: throw ModelError.unsupported("a NumPy element type is pickled in an unknown way")
    }
    var order = "|"
    if let state = object.state, case .tuple(let parts) = node(state), parts.count >= 2 {
      guard case .text(let text) = node(parts[1]) else {
        throw ModelError.malformed("a NumPy element type has no byte order")
      }
      order = text == "=" ? "<" : text
      if parts.count >= 5 {
        guard case .none = node(parts[2]), case .none = node(parts[3]) else {
          throw NPYElement.structured
        }
      }
    }
    return PickledType(descriptor: order + code)
  }

  // MARK: Scalars

  /// Returns the number or string of `numpy.core.multiarray.scalar(dtype, bytes)`.
  func numPyScalar(of object: PickleGraph.Object) throws -> ArchiveValue? {
    let callee = try callee(of: object)
    guard callee == "numpy.core.multiarray.scalar" || callee == "numpy._core.multiarray.scalar"
    else { return nil }
    let arguments = try arguments(of: object)
    guard arguments.count == 2, let bytes = try bytes(at: arguments[1]) else {
      throw ModelError.unsupported("a NumPy scalar is pickled in an unknown way")
    }
    let scalar = PickledArray(
      type: try type(of: arguments[0]), shape: .scalar, isFortranOrder: false,
      content: .bytes(bytes))
    let array = try scalar.array()
    if array.holdsTexts { return try array.texts().first }
    return try ArchiveValue(scalar: try scalar.tensor())
  }
}

extension NPYArray {
  /// Creates an array from items in memory, in the form that a `.npy` file would hold.
  fileprivate init(
    descriptor: String, shape: Shape, isFortranOrder: Bool, items: SharedBytes
  ) throws {
    let dimensions = shape.dimensions.map { "\($0), " }.joined()
    let text =
      "{'descr': '\(descriptor)', 'fortran_order': \(isFortranOrder ? "True" : "False"), "
      + "'shape': (\(dimensions)), }\n"
    guard !descriptor.contains("'"), !descriptor.contains("\\") else {
      throw ModelError.malformed("'\(descriptor)' is not a NumPy element type")
    }
    let length = UInt32(truncatingIfNeeded: text.utf8.count)
    let head = SharedBytes(
      NPYHeader.magic + [2, 0] + withUnsafeBytes(of: length.littleEndian, Array.init)
        + Array(text.utf8))
    let header = try NPYHeader(byteCount: head.count + items.count) { offset, count, purpose in
      guard offset <= head.count, count <= head.count - offset else {
        throw ModelError.malformed("\(purpose) is too long")
      }
      return head.slice(offset..<offset + count)
    }
    self.init(header: header) { SharedBytes(joining: [head, items]) }
  }
}

extension ArchiveValue {
  /// Creates the number of a tensor without axes.
  ///
  /// - Throws: `ModelError` for element types that are not numbers.
  fileprivate init(scalar tensor: Tensor) throws {
    switch tensor.elementType {
    case .bool: self = .boolean(try tensor.doubleValues().first != 0)
    case .complex64, .complex128:
      let half = tensor.elementType == .complex64 ? ElementType.float32 : .float64
      let parts = try tensor.reinterpreted(as: half, shape: [2]).doubleValues()
      self = .complex(real: parts[0], imaginary: parts[1])
    case .int64, .uint64:
      let word = try tensor.bytes().withUnsafeBytes { $0.loadUnaligned(as: UInt64.self) }
      if tensor.elementType == .int64 {
        self = .integer(Int(Int64(bitPattern: UInt64(littleEndian: word))))
      } else {
        let value = UInt64(littleEndian: word)
        self = Int(exactly: value).map { .integer($0) } ?? .largeInteger("\(value)")
      }
    case let type where type.isInteger:
      self = .integer(Int(try tensor.doubleValues().first ?? 0))
    default: self = .real(try tensor.doubleValues().first ?? .nan)
    }
  }
}
