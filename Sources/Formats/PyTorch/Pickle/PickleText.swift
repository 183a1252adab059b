/// The escaped texts of pickle protocol 0.
enum PickleText {
  /// The bytes of a quoted Python 2 string, as `repr` writes it.
  ///
  /// - Throws: `FormatError` when the quotes are missing or an escape is incomplete.
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
      guard let escape = rest.popFirst() else {
        throw FormatError.malformed("a pickled string ends with half an escape")
      }
      switch escape {
      case UInt8(ascii: "a"): result.append(0x07)
      case UInt8(ascii: "b"): result.append(0x08)
      case UInt8(ascii: "t"): result.append(0x09)
      case UInt8(ascii: "n"): result.append(0x0A)
      case UInt8(ascii: "v"): result.append(0x0B)
      case UInt8(ascii: "f"): result.append(0x0C)
      case UInt8(ascii: "r"): result.append(0x0D)
      case UInt8(ascii: "x"):
        result.append(UInt8(truncatingIfNeeded: try hexadecimal(&rest, count: 2)))
      case UInt8(ascii: "0")...UInt8(ascii: "7"):
        var code = Int(escape) & 7
        var count = 1
        while count < 3, let digit = rest.first, (0x30...0x37).contains(digit) {
          code = code << 3 | Int(digit) & 7
          rest.removeFirst()
          count += 1
        }
        result.append(UInt8(truncatingIfNeeded: code))
      case UInt8(ascii: "\\"), UInt8(ascii: "'"), UInt8(ascii: "\""): result.append(escape)
      default: result += [byte, escape]  // Python keeps escapes that it does not know.
      }
    }
    return result
  }

  /// The text of a `raw-unicode-escape` line: Latin-1 with `\u` and `\U` escapes.
  ///
  /// - Parameter isLenient: take escapes that are no characters, which Python's texts may hold.
  static func unescaping(_ line: [UInt8], isLenient: Bool = false) throws -> String {
    var scalars = String.UnicodeScalarView()
    var rest = line[...]
    while let byte = rest.popFirst() {
      let count = rest.first == UInt8(ascii: "u") ? 4 : rest.first == UInt8(ascii: "U") ? 8 : 0
      guard byte == UInt8(ascii: "\\"), count > 0 else {
        scalars.append(Unicode.Scalar(byte))
        continue
      }
      rest.removeFirst()
      let scalar = Unicode.Scalar(try hexadecimal(&rest, count: count))
      guard scalar != nil || isLenient else {
        throw FormatError.malformed("a pickled text has an escape that is no character")
      }
      scalars.append(scalar ?? "\u{FFFD}")
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
