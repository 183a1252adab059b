/// The escaped texts of pickle protocol 0.
enum PickleText {
  /// The bytes of a quoted Python 2 string, as `repr` writes it.
  ///
  /// - Throws: `FormatError` when the quotes are missing or an escape is unknown.
  static func unquoting(_ line: [UInt8]) throws -> [UInt8] {
    guard line.count >= 2, let quote = line.first, line.last == quote,
      quote == UInt8(ascii: "'") || quote == UInt8(ascii: "\"")
    else { throw FormatError.malformed("a pickled string has no quotes") }
    var result: [UInt8] = []
    var rest = line[1..<(line.count - 1)]
    while let byte = rest.popFirst() {
      guard byte == UInt8(ascii: "\\") else {
        result.append(byte)
        continue
      }
      switch rest.popFirst() {
      case UInt8(ascii: "n"): result.append(0x0A)
      case UInt8(ascii: "r"): result.append(0x0D)
      case UInt8(ascii: "t"): result.append(0x09)
      case UInt8(ascii: "x"):
        result.append(UInt8(truncatingIfNeeded: try hexadecimal(&rest, count: 2)))
      case .some(let other) where "\\'\"".utf8.contains(other): result.append(other)
      default: throw FormatError.malformed("a pickled string has an unknown escape")
      }
    }
    return result
  }

  /// The text of a `raw-unicode-escape` line: Latin-1 with `\u` and `\U` escapes.
  static func unescaping(_ line: [UInt8]) throws -> String {
    var scalars = String.UnicodeScalarView()
    var rest = line[...]
    while let byte = rest.popFirst() {
      let count = rest.first == UInt8(ascii: "u") ? 4 : rest.first == UInt8(ascii: "U") ? 8 : 0
      guard byte == UInt8(ascii: "\\"), count > 0 else {
        scalars.append(Unicode.Scalar(byte))
        continue
      }
      rest.removeFirst()
      guard let scalar = Unicode.Scalar(try hexadecimal(&rest, count: count)) else {
        throw FormatError.malformed("a pickled text has an escape that is no character")
      }
      scalars.append(scalar)
    }
    return String(scalars)
  }

  private static func hexadecimal(_ rest: inout ArraySlice<UInt8>, count: Int) throws -> UInt32 {
    let digits = String(decoding: rest.prefix(count), as: UTF8.self)
    guard digits.utf8.count == count, digits.allSatisfy(\.isHexDigit),
      let value = UInt32(digits, radix: 16)
    else { throw FormatError.malformed("a pickled text has an incomplete escape") }
    rest = rest.dropFirst(count)
    return value
  }
}
