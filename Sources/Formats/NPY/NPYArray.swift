import Storage

/// A NumPy array in a file: its header, and its bytes on request.
struct NPYArray: Sendable {
  let header: NPYHeader
  /// The file's path, for errors.
  var path: String?
  /// Returns the whole `.npy` content, header included.
  let load: @Sendable () throws -> SharedBytes

  /// The most items in an array of strings, each of which becomes a value.
  static let textCountLimit = 1 << 20

  /// Returns the array as a tensor.
  ///
  /// - Parameters:
  ///   - elementType: the type that raw bytes (`V`) stand for; `nil` if it is unknown.
  ///   - shape: the logical shape if it differs from the array's, for types narrower than a byte.
  /// - Throws: `ModelError` for raw bytes of unknown meaning.
  func tensor(elementType: ElementType? = nil, shape: Shape? = nil) throws -> Tensor {
    if let elementType, elementType.byteWidth == nil, shape == nil {
      throw ModelError.malformed("an array of \(elementType) has no logical shape")
    }
    if header.element.kind == .raw, elementType == nil { return try untyped() }
    let stored = try stored(as: elementType)
    guard let shape else { return stored }
    return try stored.reinterpreted(as: elementType ?? stored.elementType, shape: shape)
  }

  /// Returns a tensor whose element type has to be named: NumPy writes bfloat16 as `<V2` and the
  /// 8-bit floats of the ml_dtypes package as `<V1`. Structures without fields have no byte order
  /// (`|V2`).
  private func untyped() throws -> Tensor {
    let element = header.element
    let widths: [Int: ElementType] = [1: .bits8, 2: .bits16]
    guard element.descriptor.hasPrefix("<"), let type = widths[element.itemByteCount] else {
      throw ModelError.unsupported("raw bytes ('\(element.descriptor)') are not numbers")
    }
    return try Tensor(
      untyped: element.descriptor, as: type, shape: header.shape, path: path
    ) { try tensor(elementType: $0) }
  }

  private func stored(as elementType: ElementType?) throws -> Tensor {
    let type: ElementType
    switch (header.element.kind, elementType) {
    case (.number(let native), nil): type = native
    case (.raw, let given?) where given.bitWidth < 8 && header.element.itemByteCount == 1:
      type = .bits8
    case (.raw, let given?) where given.byteWidth == header.element.itemByteCount: type = given
    case (.raw, nil): return try untyped()
    case (_, let given?):
      throw ModelError.mismatch(
        expected: "raw bytes of \(given)", found: "'\(header.element.descriptor)'")
    case (.text, nil), (.bytes, nil):
      throw ModelError.unsupported("texts are not a tensor")
    }
    let storage = TensorStorage(byteCount: header.dataByteCount) { try items() }
    return try Tensor(
      elementType: type, shape: header.shape, storage: storage, elementOffset: 0,
      strides: header.elementStrides)
  }

  /// Returns the items in the order of the file, little-endian.
  private func items() throws -> SharedBytes {
    let content = try load()
    guard content.count == header.dataOffset + header.dataByteCount else {
      throw ModelError(
        .truncated(
          expectedBytes: header.dataOffset + header.dataByteCount, foundBytes: content.count,
          purpose: "a NumPy array"))
    }
    let bytes = content.slice(header.dataOffset..<content.count)
    let width = header.element.byteSwapWidth
    guard header.element.isBigEndian, width > 1 else { return bytes }
    return SharedBytes(count: bytes.count) { output in
      bytes.withUnsafeBytes { input in
        // The length is a multiple of the width, since an item is one or more such units.
        for index in input.indices { output[index ^ (width - 1)] = input[index] }
      }
    }
  }

  // MARK: Strings

  var holdsTexts: Bool { header.element.kind == .text || header.element.kind == .bytes }

  /// Returns the items of an array of strings or byte strings, in row-major order.
  ///
  /// - Throws: `ModelError` when there are more than `textCountLimit`, or they are not Unicode.
  func texts() throws -> [ArchiveValue] {
    guard header.shape.elementCount <= Self.textCountLimit else {
      throw ModelError(
        .limitExceeded(
          what: "the texts of a NumPy array", limit: Self.textCountLimit,
          found: "\(header.shape.elementCount)"))
    }
    let isText = header.element.kind == .text
    let width = header.element.itemByteCount
    let bytes = try items()
    let view = try itemIndices()
    return try view.map { index in
      let item = bytes.slice(index * width..<(index + 1) * width).array
      return isText ? .text(try Self.text(item)) : .bytes(Array(Self.withoutPadding(item, unit: 1)))
    }
  }

  /// Returns the position of each item in the file, in row-major order.
  private func itemIndices() throws -> [Int] {
    guard header.isFortranOrder else { return Array(0..<header.shape.elementCount) }
    var indices = header.shape.elementCount > 0 ? [0] : []
    for (dimension, stride) in zip(header.shape.dimensions, header.elementStrides) {
      indices = indices.flatMap { base in (0..<dimension).map { base + $0 * stride } }
    }
    return indices
  }

  private static func text(_ item: [UInt8]) throws -> String {
    var text = String.UnicodeScalarView()
    let codes = withoutPadding(item, unit: 4)
    for start in stride(from: 0, to: codes.count, by: 4) {
      let code = (0..<4).reduce(UInt32(0)) { $0 | UInt32(codes[start + $1]) << (8 * UInt32($1)) }
      guard let scalar = Unicode.Scalar(code) else {
        throw ModelError.malformed("a text has the code \(code), which is not a Unicode character")
      }
      text.append(scalar)
    }
    return String(text)
  }

  /// Returns the item without trailing zeros, which NumPy adds on writing and removes on reading.
  private static func withoutPadding(_ item: [UInt8], unit: Int) -> ArraySlice<UInt8> {
    var end = item.count
    while end >= unit, item[(end - unit)..<end].allSatisfy({ $0 == 0 }) { end -= unit }
    return item[..<end]
  }
}

extension NPYHeader {
  /// The strides, in elements, of the order in which the array is stored.
  var elementStrides: [Int] {
    guard isFortranOrder else { return shape.rowMajorStrides }
    var strides = [Int](repeating: 1, count: shape.rank)
    for axis in shape.dimensions.indices.dropFirst() {
      strides[axis] = strides[axis - 1] * max(1, shape.dimensions[axis - 1])
    }
    return strides
  }
}

/// A value encoded as a NumPy array without axes.
struct NPYScalar {
  let descriptor: String
  let bytes: [UInt8]

  /// Creates an array from a value.
  ///
  /// - Returns: `nil` for values that NumPy has no type for or would change on reading: it removes
  ///   trailing zeros from strings and bytes.
  init?(_ value: ArchiveValue) {
    switch value {
    case .none, .largeInteger: return nil
    case .boolean(let flag):
      descriptor = "|b1"
      bytes = [flag ? 1 : 0]
    case .integer(let integer):
      descriptor = "<i8"
      bytes = Self.bytes(of: integer.littleEndian)
    case .real(let number):
      descriptor = "<f8"
      bytes = Self.bytes(of: number.bitPattern.littleEndian)
    case .complex(let real, let imaginary):
      descriptor = "<c16"
      bytes =
        Self.bytes(of: real.bitPattern.littleEndian)
        + Self.bytes(of: imaginary.bitPattern.littleEndian)
    case .text(let text):
      guard text.unicodeScalars.last != "\0" else { return nil }
      let codes = text.isEmpty ? [0] : text.unicodeScalars.map(\.value)
      descriptor = "<U\(codes.count)"
      bytes = codes.flatMap { Self.bytes(of: $0.littleEndian) }
    case .bytes(let content):
      guard content.last != 0 else { return nil }
      bytes = content.isEmpty ? [0] : content
      descriptor = "|S\(bytes.count)"
    }
  }

  /// Returns the value that an array without axes stands for.
  ///
  /// - Throws: `ModelError` when the array has axes or a type that no value is written as.
  static func value(of array: NPYArray) throws -> ArchiveValue {
    guard array.header.shape.rank == 0 else {
      throw ModelError.malformed("a value's array has the shape \(array.header.shape)")
    }
    if array.holdsTexts, let text = try array.texts().first { return text }
    return try numbers(of: array)[0]
  }

  /// Returns the values that an array with one axis stands for.
  ///
  /// - Throws: `ModelError` when the array does not have one axis, or has very many items or a type
  ///   that no value is written as.
  static func values(of array: NPYArray) throws -> [ArchiveValue] {
    guard array.header.shape.rank == 1 else {
      throw ModelError.malformed("a list's array has the shape \(array.header.shape)")
    }
    guard array.header.shape.elementCount <= NPYArray.textCountLimit else {
      throw ModelError(
        .limitExceeded(
          what: "the values of a list", limit: NPYArray.textCountLimit,
          found: "\(array.header.shape.elementCount)"))
    }
    return try numbers(of: array)
  }

  private static func numbers(of array: NPYArray) throws -> [ArchiveValue] {
    let tensor = try array.tensor()
    let count = tensor.shape.elementCount
    return try tensor.bytes().withUnsafeBytes { buffer in
      switch tensor.elementType {
      case .bool: (0..<count).map { .boolean(buffer[$0] != 0) }
      case .int64:
        (0..<count).map {
          .integer(Int(littleEndian: buffer.loadUnaligned(fromByteOffset: 8 * $0, as: Int.self)))
        }
      case .float64: (0..<count).map { .real(real(buffer, at: 8 * $0)) }
      case .complex128:
        (0..<count).map {
          .complex(real: real(buffer, at: 16 * $0), imaginary: real(buffer, at: 16 * $0 + 8))
        }
      default: throw ModelError.malformed("a value's array has the type \(tensor.elementType)")
      }
    }
  }

  private static func real(_ buffer: UnsafeRawBufferPointer, at offset: Int) -> Double {
    Double(
      bitPattern: UInt64(
        littleEndian: buffer.loadUnaligned(fromByteOffset: offset, as: UInt64.self)))
  }

  private static func bytes(of value: some BitwiseCopyable) -> [UInt8] {
    withUnsafeBytes(of: value) { Array($0) }
  }
}
