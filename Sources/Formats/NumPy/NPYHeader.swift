/// The header of a `.npy` file: what its bytes are and where they begin.
struct NPYHeader {
  /// The header's dictionary in bytes, on reading: enough for any element type that is supported.
  /// NumPy itself stops at 10,000.
  static let byteCountLimit = 65_536
  /// Structured element types nest; NumPy itself writes two or three levels.
  static let nestingLimit = 16
  static let magic: [UInt8] = [0x93] + Array("NUMPY".utf8)

  let element: NPYElement
  let shape: Shape
  /// Column-major: the first axis varies fastest.
  let isFortranOrder: Bool
  /// Where the items begin.
  let dataOffset: Int
  /// Bytes of all items.
  let dataByteCount: Int

  /// Reads the header of a `.npy` file of `byteCount` bytes.
  ///
  /// - Parameter read: gives `count` bytes at `offset` of the file, for the purpose named.
  /// - Throws: `FormatError` unless the file is exactly the header and its items.
  init(
    byteCount: Int, read: (_ offset: Int, _ count: Int, _ purpose: String) throws -> SharedBytes
  ) throws {
    var prefix = ByteReader(try read(0, 8, "the NumPy signature"))
    guard try prefix.read(6, for: "the NumPy signature").array == Self.magic else {
      throw FormatError.malformed("no NumPy signature", offset: 0)
    }
    let major = try prefix.readInteger(UInt8.self, for: "the NumPy version")
    let minor = try prefix.readInteger(UInt8.self, for: "the NumPy version")
    guard (1...3).contains(major), minor == 0 else {
      throw FormatError.unsupported(
        "version \(major).\(minor) of the NumPy format is unknown; known are 1.0, 2.0 and 3.0",
        offset: 6)
    }
    let width = major == 1 ? 2 : 4
    var lengthReader = ByteReader(try read(8, width, "the NumPy header's length"), baseOffset: 8)
    let length =
      major == 1
      ? try lengthReader.readCount(UInt16.self, for: "the NumPy header's length")
      : try lengthReader.readCount(UInt32.self, for: "the NumPy header's length")
    guard length <= Self.byteCountLimit else {
      throw FormatError(
        .limitExceeded(
          what: "a NumPy header in bytes", limit: Self.byteCountLimit, found: "\(length)"),
        offset: 8)
    }
    let bytes = try read(8 + width, length, "the NumPy header")
    let text = try Self.text(of: bytes.array, isUTF8: major == 3)
    let members = try Self.members(PythonLiteral(parsing: text))
    element = try NPYElement(members.descriptor)
    shape = members.shape
    isFortranOrder = members.isFortranOrder
    dataOffset = 8 + width + length
    let (dataByteCount, overflow) = shape.elementCount.multipliedReportingOverflow(
      by: element.itemByteCount)
    guard !overflow else {
      throw FormatError.malformed("\(element.descriptor) \(shape) has more than 2^63 bytes")
    }
    self.dataByteCount = dataByteCount
    guard dataByteCount <= byteCount - dataOffset else {
      throw FormatError(
        .truncated(
          expectedBytes: dataByteCount, foundBytes: byteCount - dataOffset,
          purpose: "\(element.descriptor) \(shape)"), offset: dataOffset)
    }
    guard dataByteCount == byteCount - dataOffset else {
      throw FormatError.mismatch(
        expected: "the end of the array",
        found: counted(byteCount - dataOffset - dataByteCount, "more byte"),
        offset: dataOffset + dataByteCount)
    }
  }

  private static func text(of bytes: [UInt8], isUTF8: Bool) throws -> String {
    guard isUTF8 else {
      return String(String.UnicodeScalarView(bytes.map { Unicode.Scalar($0) }))
    }
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw FormatError.malformed("the NumPy header is not valid UTF-8")
    }
    return text
  }

  private static func members(_ literal: PythonLiteral) throws
    -> (descriptor: PythonLiteral, shape: Shape, isFortranOrder: Bool)
  {
    guard case .dictionary(let entries) = literal, entries.count == 3 else {
      throw FormatError.malformed("the NumPy header is not a dictionary of three members")
    }
    func member(_ name: String) throws -> PythonLiteral {
      guard let entry = entries.first(where: { $0.key == .text(name) }) else {
        throw FormatError.malformed("the NumPy header has no '\(name)'")
      }
      return entry.value
    }
    guard case .boolean(let isFortranOrder) = try member("fortran_order") else {
      throw FormatError.malformed("'fortran_order' of the NumPy header is neither True nor False")
    }
    guard case .tuple(let items) = try member("shape") else {
      throw FormatError.malformed("'shape' of the NumPy header is not a tuple")
    }
    let dimensions = try items.map { item in
      guard case .integer(let dimension) = item else {
        throw FormatError.malformed("'shape' of the NumPy header is not a tuple of integers")
      }
      return dimension
    }
    guard let shape = Shape(dimensions) else {
      throw FormatError.malformed(
        "the shape \(dimensions) is negative or has more than 2^63 elements")
    }
    return (try member("descr"), shape, isFortranOrder)
  }
}

extension NPYHeader {
  /// The most bytes before the items.
  static let headByteLimit = 12 + byteCountLimit

  /// Where the pickle of an array of objects begins, or `nil` when `bytes` are no such array.
  static func objectsOffset(in bytes: SharedBytes) -> Int? {
    guard let (text, start) = dictionary(in: bytes) else { return nil }
    // Structures have object fields too: any `O` inside quotes, in any byte order.
    let quoted = text.split(omittingEmptySubsequences: false) { $0 == "'" || $0 == "\"" }
    let isObject = quoted.enumerated().contains { index, part in
      let type = part.drop { "<>|=".contains($0) }
      return index % 2 == 1 && (type == "O" || type == "O8" || type == "O4" || type == "object")
    }
    return isObject ? start : nil
  }

  /// Whether `bytes` are an array whose items hold no objects, whether or not they can be decoded.
  static func isPlain(_ bytes: SharedBytes) -> Bool {
    // An escape could hide what a type is.
    guard let (text, _) = dictionary(in: bytes), !text.contains("\\") else { return false }
    return text.contains("descr") && objectsOffset(in: bytes) == nil
  }

  /// The header's dictionary, and where the items begin.
  private static func dictionary(in bytes: SharedBytes) -> (text: String, start: Int)? {
    let head = bytes.slice(0..<min(bytes.count, headByteLimit)).array
    guard head.starts(with: magic), head.count >= 12, (1...3).contains(head[6]) else { return nil }
    let width = head[6] == 1 ? 2 : 4
    let length = (0..<width).reduce(0) { $0 | Int(head[8 + $1]) << (8 * $1) }
    let start = 8 + width + length
    guard start <= head.count,
      let text = String(validating: head[8 + width..<start], as: UTF8.self)
    else { return nil }
    return (text, start)
  }

  /// The element type as the header of `bytes` has it, for lists of what cannot be read.
  static func descriptor(in bytes: SharedBytes) -> String? {
    guard let (text, _) = dictionary(in: bytes), let literal = try? PythonLiteral(parsing: text),
      let (descriptor, _, _) = try? members(literal)
    else { return nil }
    if case .text(let descriptor) = descriptor { return descriptor }
    return "structured array"
  }
}

// MARK: - Writing

extension NPYHeader {
  /// The bytes before the items, as NumPy writes them for a row-major array: version 1.0, with
  /// room for the first dimension to grow to 21 digits, padded to a multiple of 64.
  static func encode(descriptor: String, shape: Shape) throws -> [UInt8] {
    let dimensions = shape.dimensions.map(String.init)
    let tuple =
      dimensions.count == 1 ? "(\(dimensions[0]),)" : "(\(dimensions.joined(separator: ", ")))"
    var text = "{'descr': '\(descriptor)', 'fortran_order': False, 'shape': \(tuple), }"
    if let first = dimensions.first { text += String(repeating: " ", count: 21 - first.count) }
    let padding = 64 - (magic.count + 4 + text.utf8.count + 1) % 64
    text += String(repeating: " ", count: padding) + "\n"
    guard let length = UInt16(exactly: text.utf8.count) else {
      throw FormatError(
        .limitExceeded(
          what: "a NumPy header in bytes", limit: Int(UInt16.max), found: "\(text.utf8.count)"))
    }
    return magic + [1, 0] + withUnsafeBytes(of: length.littleEndian, Array.init) + Array(text.utf8)
  }
}
