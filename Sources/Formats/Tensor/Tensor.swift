/// An element type, a shape, and bytes that are touched only when asked for.
///
/// The value returned by `bytes()` is always contiguous, row-major and little-endian, whatever the
/// layout in the file.
public struct Tensor: Sendable {
  /// The type of every element.
  public let elementType: ElementType
  /// The lengths of its axes; elements are in row-major order.
  public let shape: Shape
  /// Bytes of the contiguous elements.
  public let byteCount: Int
  /// Where the elements lie in a storage that other tensors may share; `nil` for computed tensors.
  package let view: StorageView?
  /// The file's own name of an element type that cannot be read; `nil` for tensors that can.
  ///
  /// Such a tensor is listed so that nothing is hidden; its bytes are an error.
  public private(set) var unreadableType: String?
  /// Why the elements cannot be read, as a lower-case sentence; `nil` for tensors that can.
  public private(set) var unreadableReason: String?
  /// Gives the tensor with elements of a type that the file does not name.
  private var interpretation: (@Sendable (ElementType) throws -> Tensor)?
  /// Reads the bytes that stand for the elements in the file; only of tensors that cannot be read.
  var storedBytes: (@Sendable () throws -> SharedBytes)?
  /// Reads the codes that the elements are dequantized from; `nil` for tensors that are not stored as
  /// codes.
  package var quantized: (@Sendable () throws -> QuantizedTensor)?
  private let load: @Sendable () throws -> SharedBytes

  /// A tensor that `load` gives, in contiguous row-major little-endian order.
  ///
  /// - Throws: `FormatError` when the shape's bytes overflow or do not fill whole bytes.
  public init(
    elementType: ElementType, shape: Shape, load: @escaping @Sendable () throws -> SharedBytes
  ) throws {
    self.elementType = elementType
    self.shape = shape
    self.byteCount = try Self.byteCount(elementType, shape)
    self.view = nil
    self.load = load
  }

  /// A tensor that is listed but cannot be read.
  ///
  /// - Parameters:
  ///   - unreadableType: the file's own name of its element type.
  ///   - elementType: the type that reading would give, or the closest one.
  ///   - path: the file, for the error.
  ///   - name: the tensor, for the error.
  package init(
    unreadableType: String, as elementType: ElementType, shape: Shape, path: String, name: String
  ) throws {
    try self.init(elementType: elementType, shape: shape) {
      throw FormatError.unsupported(
        "elements of type \(unreadableType) cannot be read", path: path, tensor: name)
    }
    self.unreadableType = unreadableType
    unreadableReason = "elements of type \(unreadableType) cannot be read"
  }

  /// A tensor of raw bytes whose element type the file does not name.
  ///
  /// - Parameters:
  ///   - descriptor: what the file says instead.
  ///   - elementType: a type of raw bytes that is as wide.
  ///   - path: the file, for the error.
  ///   - interpretation: gives the tensor as one of a type that is as wide.
  init(
    untyped descriptor: String, as elementType: ElementType, shape: Shape, path: String?,
    interpretation: @escaping @Sendable (ElementType) throws -> Tensor
  ) throws {
    let reason =
      "NumPy did not keep the type of its raw bytes ('\(descriptor)'), which --void-type names"
    try self.init(elementType: elementType, shape: shape) {
      throw FormatError.unsupported(reason, path: path)
    }
    unreadableType = descriptor
    unreadableReason = reason
    self.interpretation = interpretation
  }

  /// The tensor with the first of `types` that is as wide as its raw bytes; itself where its type is
  /// known, or none of them fits.
  package func interpreted(asOneOf types: [ElementType]) throws -> Tensor {
    guard let interpretation, let type = types.first(where: { $0.bitWidth == elementType.bitWidth })
    else { return self }
    return try interpretation(type)
  }

  /// A tensor whose contiguous bytes are in memory.
  ///
  /// - Throws: `FormatError` when the bytes are not as many as the shape needs.
  public init(elementType: ElementType, shape: Shape, bytes: SharedBytes) throws {
    try self.init(elementType: elementType, shape: shape) { bytes }
    guard bytes.count == byteCount else {
      throw FormatError(
        .truncated(
          expectedBytes: byteCount, foundBytes: bytes.count, purpose: "\(elementType) \(shape)"))
    }
  }

  /// A tensor that is a view of a storage.
  package init(
    elementType: ElementType, shape: Shape, storage: TensorStorage, elementOffset: Int,
    strides: [Int]
  ) throws {
    let view = try StorageView(
      storage: storage, elementOffset: elementOffset, strides: strides, shape: shape,
      elementType: elementType)
    let width = elementType.byteWidth!  // checked by StorageView
    self.elementType = elementType
    self.shape = shape
    self.byteCount = try Self.byteCount(elementType, shape)
    self.view = view
    self.load = { try view.contiguousBytes(shape, elementWidth: width) }
  }

  /// The contiguous row-major little-endian elements.
  ///
  /// - Throws: `FormatError` when the file cannot be read or its checksum does not match.
  public func bytes() throws -> SharedBytes {
    let bytes = try load()
    guard bytes.count == byteCount else {
      throw FormatError(
        .truncated(
          expectedBytes: byteCount, foundBytes: bytes.count, purpose: "\(elementType) \(shape)"))
    }
    return bytes
  }

  /// The elements, or where these cannot be read the bytes that stand for them in the file: two
  /// tensors of one type and shape are equal when these are.
  ///
  /// - Throws: as `bytes()`.
  package func comparableBytes() throws -> SharedBytes { try storedBytes?() ?? bytes() }

  /// The same bytes under another element type and shape that need exactly as many.
  func reinterpreted(as elementType: ElementType, shape: Shape) throws -> Tensor {
    let needed = try Self.byteCount(elementType, shape)
    guard needed == byteCount else {
      throw FormatError(
        .truncated(
          expectedBytes: needed, foundBytes: byteCount, purpose: "\(elementType) \(shape)"))
    }
    return try Tensor(elementType: elementType, shape: shape, load: bytes)
  }

  private static func byteCount(_ elementType: ElementType, _ shape: Shape) throws -> Int {
    guard let count = elementType.byteCount(forElements: shape.elementCount) else {
      throw FormatError.mismatch(
        expected: "elements that fill whole bytes below 2^63", found: "\(elementType) \(shape)")
    }
    return count
  }
}
