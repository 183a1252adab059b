/// A value as a NumPy array without axes.
struct NPYScalar {
  let descriptor: String
  let bytes: [UInt8]

  /// - Returns: `nil` for values that NumPy has no type for, or would give back changed: it takes
  ///   trailing zeros from texts and bytes.
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

  /// The value that an array without axes stands for.
  ///
  /// - Throws: `FormatError` when the array has axes or a type that values are not written as.
  static func value(of array: NPYArray) throws -> ArchiveValue {
    guard array.header.shape.rank == 0 else {
      throw FormatError.malformed("a value's array has the shape \(array.header.shape)")
    }
    if array.holdsTexts, let text = try array.texts().first { return text }
    return try numbers(of: array)[0]
  }

  /// The values that an array with one axis stands for.
  ///
  /// - Throws: `FormatError` when the array has other axes, very many items, or a type that values are
  ///   not written as.
  static func values(of array: NPYArray) throws -> [ArchiveValue] {
    guard array.header.shape.rank == 1 else {
      throw FormatError.malformed("a list's array has the shape \(array.header.shape)")
    }
    guard array.header.shape.elementCount <= NPYArray.textCountLimit else {
      throw FormatError(
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
      default: throw FormatError.malformed("a value's array has the type \(tensor.elementType)")
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
