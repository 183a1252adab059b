/// What the items of a NumPy array are, as its header's `descr` says.
struct NPYElement: Hashable, Sendable {
  enum Kind: Hashable, Sendable {
    case number(ElementType)
    /// `V`: bytes without a meaning, as NumPy writes types that it does not know.
    case raw
    /// `U`: UTF-32, padded with zeros.
    case text
    /// `S`: bytes, padded with zeros.
    case bytes
  }

  let kind: Kind
  let isBigEndian: Bool
  /// Bytes of one item.
  let itemByteCount: Int
  /// As written in the header: `<f4`.
  let descriptor: String

  private static let numbers: [String: ElementType] = [
    "b1": .bool, "i1": .int8, "i2": .int16, "i4": .int32, "i8": .int64,
    "u1": .uint8, "u2": .uint16, "u4": .uint32, "u8": .uint64,
    "f2": .float16, "f4": .float32, "f8": .float64, "c8": .complex64, "c16": .complex128,
  ]

  /// Why structured arrays are refused.
  static let structured = FormatError.unsupported(
    "structured NumPy arrays are not supported; save each field as an array of its own")

  /// - Throws: `FormatError` that names the element type when it cannot be represented.
  init(_ literal: PythonLiteral) throws {
    switch literal {
    case .text(let descriptor): try self.init(descriptor)
    case .list: throw Self.structured
    case .tuple: throw FormatError.unsupported("NumPy subarray types are not supported")
    default: throw FormatError.malformed("'descr' of the NumPy header is no element type")
    }
  }

  /// - Parameter descriptor: byte order, kind and width, such as `<f4`.
  init(_ descriptor: String) throws {
    self.descriptor = descriptor
    guard let order = descriptor.first, "<>|".contains(order) else {
      throw FormatError.malformed("the NumPy element type '\(descriptor)' has no byte order")
    }
    let code = descriptor.dropFirst()
    let width = Int(code.dropFirst())
    isBigEndian = order == ">"
    switch code.first {
    case "O":
      throw FormatError.unsupported(
        "the object array ('\(descriptor)') holds a Python pickle")
    case "M", "m":
      throw FormatError.unsupported(
        "NumPy dates ('\(descriptor)') are not supported; save them as int64")
    case "U", "S", "V":
      guard let width, width >= 0, width <= Int(Int32.max) / 4 else { break }
      kind = code.first == "U" ? .text : code.first == "S" ? .bytes : .raw
      itemByteCount = code.first == "U" ? width * 4 : width
      return
    case "f" where width == 1:
      // What NumPy writes of ml_dtypes' float8_e5m2, and does not read.
      kind = .raw
      itemByteCount = 1
      return
    default:
      guard let type = Self.numbers[String(code)] else { break }
      let byteCount = type.bitWidth / 8
      guard order != "|" || byteCount == 1 else {
        throw FormatError.malformed("the NumPy element type '\(descriptor)' has no byte order")
      }
      kind = .number(type)
      itemByteCount = byteCount
      return
    }
    throw FormatError.unsupported(
      "the NumPy element type '\(descriptor)' is not supported"
        + (["f12", "f16", "c24", "c32"].contains(code) ? "; save it as a narrower one" : ""))
  }

  /// The bytes that change places when the byte order does.
  var byteSwapWidth: Int {
    switch kind {
    case .number(let type): type.byteSwapWidth
    case .text: 4
    case .raw, .bytes: 1
    }
  }

  /// The element that NumPy writes `type` as: itself, or raw bytes of its width.
  static func descriptor(of type: ElementType) -> String {
    if let code = numbers.first(where: { $0.value == type })?.key {
      return type.bitWidth == 8 ? "|\(code)" : "<\(code)"
    }
    // As NumPy writes the types of the ml_dtypes package.
    return type.bitWidth <= 8 ? "|V1" : "<V\(type.bitWidth / 8)"
  }

  /// What raw bytes in an array may be: types of the package ml_dtypes with whole bytes.
  static let rawTypes: [ElementType] = ElementType.allCases.filter {
    $0.isFloatingPoint && !isNative($0) && ($0.byteWidth ?? 0) > 0
  }

  /// Whether NumPy itself has `type`.
  static func isNative(_ type: ElementType) -> Bool { numbers.values.contains(type) }
}
