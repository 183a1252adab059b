import Storage

/// The header of a `.npy` file: the type and shape of the items, and their location.
struct NPYHeader {
  /// The most bytes accepted in a header's dictionary, enough for any supported element type. NumPy
  /// itself stops at 10,000.
  static let byteCountLimit = 65_536
  /// Structured element types nest; NumPy itself writes two or three levels.
  static let nestingLimit = 16
  static let magic: [UInt8] = [0x93] + Array("NUMPY".utf8)

  let element: NPYElement
  let shape: Shape
  /// Whether the array is column-major: the first axis varies fastest.
  let isFortranOrder: Bool
  /// The offset of the items.
  let dataOffset: Int
  /// The bytes of all items.
  let dataByteCount: Int

  /// Reads the header of a `.npy` file of `byteCount` bytes.
  ///
  /// - Parameter read: returns `count` bytes at `offset` of the file, for the named purpose.
  /// - Throws: `ModelError` unless the file is exactly the header and its items.
  init(
    byteCount: Int, read: (_ offset: Int, _ count: Int, _ purpose: String) throws -> SharedBytes
  ) throws {
    var prefix = ByteReader(try read(0, 8, "the NumPy signature"))
    guard try prefix.read(6, for: "the NumPy signature").array == Self.magic else {
      throw ModelError.malformed("no NumPy signature", offset: 0)
    }
    let major = try prefix.readInteger(UInt8.self, for: "the NumPy version")
    let minor = try prefix.readInteger(UInt8.self, for: "the NumPy version")
    guard (1...3).contains(major), minor == 0 else {
      throw ModelError.unsupported(
        "version \(major).\(minor) of the NumPy format is not supported, only 1.0, 2.0 and 3.0",
        offset: 6)
    }
    let width = major == 1 ? 2 : 4
    var lengthReader = ByteReader(try read(8, width, "the NumPy header's length"), baseOffset: 8)
    let length =
      major == 1
      ? try lengthReader.readCount(UInt16.self, for: "the NumPy header's length")
      : try lengthReader.readCount(UInt32.self, for: "the NumPy header's length")
    guard length <= Self.byteCountLimit else {
      throw ModelError(
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
      throw ModelError.malformed("\(element.descriptor) \(shape) has more than 2^63 bytes")
    }
    self.dataByteCount = dataByteCount
    guard dataByteCount <= byteCount - dataOffset else {
      throw ModelError(
        .truncated(
          expectedBytes: dataByteCount, foundBytes: byteCount - dataOffset,
          purpose: "\(element.descriptor) \(shape)"), offset: dataOffset)
    }
    guard dataByteCount == byteCount - dataOffset else {
      throw ModelError.mismatch(
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
      throw ModelError.malformed("the NumPy header is not valid UTF-8")
    }
    return text
  }

  private static func members(_ literal: PythonLiteral) throws
    -> (descriptor: PythonLiteral, shape: Shape, isFortranOrder: Bool)
  {
    guard case .dictionary(let entries) = literal, entries.count == 3 else {
      throw ModelError.malformed("the NumPy header is not a dictionary of three members")
    }
    func member(_ name: String) throws -> PythonLiteral {
      guard let entry = entries.first(where: { $0.key == .text(name) }) else {
        throw ModelError.malformed("the NumPy header has no '\(name)'")
      }
      return entry.value
    }
    guard case .boolean(let isFortranOrder) = try member("fortran_order") else {
      throw ModelError.malformed("'fortran_order' of the NumPy header is neither True nor False")
    }
    guard case .tuple(let items) = try member("shape") else {
      throw ModelError.malformed("'shape' of the NumPy header is not a tuple")
    }
    let dimensions = try items.map { item in
      guard case .integer(let dimension) = item else {
        throw ModelError.malformed("'shape' of the NumPy header is not a tuple of integers")
      }
      return dimension
    }
    guard let shape = Shape(dimensions) else {
      throw ModelError.malformed(
        "the shape \(dimensions) is negative or has more than 2^63 elements")
    }
    return (try member("descr"), shape, isFortranOrder)
  }
}

extension NPYHeader {
  /// The most bytes before the items.
  static let headByteLimit = 12 + byteCountLimit

  /// Returns the offset of the pickle in an array of objects, or `nil` if `bytes` are not such an
  /// array.
  static func objectsOffset(in bytes: SharedBytes) -> Int? {
    guard let (text, start) = dictionary(in: bytes) else { return nil }
    // Structures can have object fields: look for any quoted `O`, in any byte order.
    let quoted = text.split(omittingEmptySubsequences: false) { $0 == "'" || $0 == "\"" }
    let isObject = quoted.enumerated().contains { index, part in
      let type = part.drop { "<>|=".contains($0) }
      return index % 2 == 1 && (type == "O" || type == "O8" || type == "O4" || type == "object")
    }
    return isObject ? start : nil
  }

  /// Whether `bytes` are an array whose items hold no objects, decodable or not.
  static func isPlain(_ bytes: SharedBytes) -> Bool {
    // An escape could hide the type.
    guard let (text, _) = dictionary(in: bytes), !text.contains("\\") else { return false }
    return text.contains("descr") && objectsOffset(in: bytes) == nil
  }

  /// Returns the header's dictionary, and the offset of the items.
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

  /// Returns the element type as written in the header of `bytes`, to list it as unreadable.
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
  /// Returns the bytes before the items as NumPy writes them for a row-major array: version 1.0,
  /// with room for the first dimension to grow to 21 digits, padded to a multiple of 64.
  static func encode(descriptor: String, shape: Shape) throws -> [UInt8] {
    let dimensions = shape.dimensions.map(String.init)
    let tuple =
      dimensions.count == 1 ? "(\(dimensions[0]),)" : "(\(dimensions.joined(separator: ", ")))"
    var text = "{'descr': '\(descriptor)', 'fortran_order': False, 'shape': \(tuple), }"
    if let first = dimensions.first { text += String(repeating: " ", count: 21 - first.count) }
    let padding = 64 - (magic.count + 4 + text.utf8.count + 1) % 64
    text += String(repeating: " ", count: padding) + "\n"
    guard let length = UInt16(exactly: text.utf8.count) else {
      throw ModelError(
        .limitExceeded(
          what: "a NumPy header in bytes", limit: Int(UInt16.max), found: "\(text.utf8.count)"))
    }
    return magic + [1, 0] + withUnsafeBytes(of: length.littleEndian, Array.init) + Array(text.utf8)
  }
}

/// The type of a NumPy array's items, from its header's `descr`.
struct NPYElement: Hashable, Sendable {
  enum Kind: Hashable, Sendable {
    case number(ElementType)
    /// `V`: uninterpreted bytes, as NumPy writes types that it does not know.
    case raw
    /// `U`: UTF-32, padded with zeros.
    case text
    /// `S`: bytes, padded with zeros.
    case bytes
  }

  let kind: Kind
  let isBigEndian: Bool
  /// The bytes of one item.
  let itemByteCount: Int
  /// The type as written in the header, such as `<f4`.
  let descriptor: String

  private static let numbers: [String: ElementType] = [
    "b1": .bool, "i1": .int8, "i2": .int16, "i4": .int32, "i8": .int64,
    "u1": .uint8, "u2": .uint16, "u4": .uint32, "u8": .uint64,
    "f2": .float16, "f4": .float32, "f8": .float64, "c8": .complex64, "c16": .complex128,
  ]

  /// The error for structured arrays.
  static let structured = ModelError.unsupported(
    "structured NumPy arrays are not supported; save each field as an array of its own")

  /// Creates an element from the header's literal.
  ///
  /// - Throws: `ModelError` that names the element type when it cannot be represented.
  init(_ literal: PythonLiteral) throws {
    switch literal {
    case .text(let descriptor): try self.init(descriptor)
    case .list: throw Self.structured
    case .tuple: throw ModelError.unsupported("NumPy subarray types are not supported")
    default: throw ModelError.malformed("'descr' of the NumPy header is not an element type")
    }
  }

  /// Creates an element from a type string.
  ///
  /// - Parameter descriptor: byte order, kind and width, such as `<f4`.
  init(_ descriptor: String) throws {
    self.descriptor = descriptor
    guard let order = descriptor.first, "<>|".contains(order) else {
      throw ModelError.malformed("the NumPy element type '\(descriptor)' has no byte order")
    }
    let code = descriptor.dropFirst()
    let width = Int(code.dropFirst())
    isBigEndian = order == ">"
    switch code.first {
    case "O":
      throw ModelError.unsupported(
        "the object array ('\(descriptor)') holds a Python pickle")
    case "M", "m":
      throw ModelError.unsupported(
        "NumPy dates ('\(descriptor)') are not supported; save them as int64")
    case "U", "S", "V":
      guard let width, width >= 0, width <= Int(Int32.max) / 4 else { break }
      kind = code.first == "U" ? .text : code.first == "S" ? .bytes : .raw
      itemByteCount = code.first == "U" ? width * 4 : width
      return
    case "f" where width == 1:
      // NumPy writes ml_dtypes' float8_e5m2 as `f1`, but cannot read it.
      kind = .raw
      itemByteCount = 1
      return
    default:
      guard let type = Self.numbers[String(code)] else { break }
      let byteCount = type.bitWidth / 8
      guard order != "|" || byteCount == 1 else {
        throw ModelError.malformed("the NumPy element type '\(descriptor)' has no byte order")
      }
      kind = .number(type)
      itemByteCount = byteCount
      return
    }
    throw ModelError.unsupported(
      "the NumPy element type '\(descriptor)' is not supported"
        + (["f12", "f16", "c24", "c32"].contains(code) ? "; save it as a narrower one" : ""))
  }

  /// The width in bytes of the units that byte order applies to.
  var byteSwapWidth: Int {
    switch kind {
    case .number(let type): type.byteSwapWidth
    case .text: 4
    case .raw, .bytes: 1
    }
  }

  /// Returns the descriptor that NumPy writes for `type`: its own, or raw bytes of its width.
  static func descriptor(of type: ElementType) -> String {
    if let code = numbers.first(where: { $0.value == type })?.key {
      return type.bitWidth == 8 ? "|\(code)" : "<\(code)"
    }
    // NumPy writes the ml_dtypes package's types as raw bytes.
    return type.bitWidth <= 8 ? "|V1" : "<V\(type.bitWidth / 8)"
  }

  /// The types that raw bytes may stand for: the ml_dtypes package's types of whole bytes.
  static let rawTypes: [ElementType] = ElementType.allCases.filter {
    $0.isFloatingPoint && !isNative($0) && ($0.byteWidth ?? 0) > 0
  }

  /// Whether NumPy itself has `type`.
  static func isNative(_ type: ElementType) -> Bool { numbers.values.contains(type) }
}

extension ElementType {
  /// The types that NumPy writes as raw bytes without a name.
  package static var namelessInNumPy: [ElementType] { NPYElement.rawTypes }
}
