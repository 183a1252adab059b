import Storage

/// Decoding of the escaped strings of pickle protocol 0.
enum PickleText {
  /// Returns the bytes of a quoted Python 2 string, as `repr` writes it.
  ///
  /// - Throws: `ModelError` when the quotes are missing or an escape is incomplete.
  static func unquoting(_ line: [UInt8]) throws -> [UInt8] {
    guard line.count >= 2, let quote = line.first, line.last == quote,
      quote == UInt8(ascii: "'") || quote == UInt8(ascii: "\"")
    else { throw ModelError.malformed("a pickled string has no quotes") }
    var result: [UInt8] = []
    var rest = line[1..<(line.count - 1)]
    while let byte = rest.popFirst() {
      guard byte == UInt8(ascii: "\\") else {
        result.append(byte)
        continue
      }
      guard let escape = rest.popFirst() else {
        throw ModelError.malformed("a pickled string ends inside an escape")
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

  /// Returns the text of a `raw-unicode-escape` line: Latin-1 with `\u` and `\U` escapes.
  ///
  /// - Parameter isLenient: whether to accept escapes that are not characters, which Python strings
  ///   may hold.
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
        throw ModelError.malformed("a pickled text has an escape that is not a character")
      }
      scalars.append(scalar ?? "\u{FFFD}")
    }
    return String(scalars)
  }

  private static func hexadecimal(_ rest: inout ArraySlice<UInt8>, count: Int) throws -> UInt32 {
    let digits = String(decoding: rest.prefix(count), as: UTF8.self)
    guard digits.utf8.count == count, digits.allSatisfy(\.isHexDigit),
      let value = UInt32(digits, radix: 16)
    else { throw ModelError.malformed("a pickled text has an incomplete escape") }
    rest = rest.dropFirst(count)
    return value
  }
}

/// Conversion of integers of any length between a pickle's two's complement and decimal digits.
enum PickleInteger {
  /// Returns the integer of a little-endian two's complement; an empty one is zero.
  static func node(littleEndian bytes: [UInt8]) -> PickleGraph.Node {
    let isNegative = (bytes.last ?? 0) & 0x80 != 0
    // Sign extension beyond 8 bytes does not make the number larger.
    let fill: UInt8 = isNegative ? 0xFF : 0
    let low = (0..<8).map { $0 < bytes.count ? bytes[$0] : fill }
    let fits =
      bytes.count <= 8
      || bytes[8...].allSatisfy { $0 == fill } && (low[7] & 0x80 != 0) == isNegative
    if fits {
      return .integer(
        Int(truncatingIfNeeded: low.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }))
    }
    var magnitude = isNegative ? negated(bytes) : bytes
    var digits: [UInt8] = []
    while let last = magnitude.last {
      guard last != 0 else {
        magnitude.removeLast()
        continue
      }
      var remainder = 0
      for index in magnitude.indices.reversed() {
        let value = remainder << 8 | Int(magnitude[index])
        magnitude[index] = UInt8(value / 10)
        remainder = value % 10
      }
      digits.append(UInt8(ascii: "0") + UInt8(remainder))
    }
    if isNegative { digits.append(UInt8(ascii: "-")) }
    return .largeInteger(String(decoding: digits.reversed(), as: UTF8.self))
  }

  /// Returns the integer of decimal digits with an optional sign.
  ///
  /// - Throws: `ModelError` for anything else, or more digits than the machine's limit.
  static func node(decimal text: String) throws -> PickleGraph.Node {
    if let value = Int(text) { return .integer(value) }
    return node(littleEndian: try twosComplement(decimal: text))
  }

  /// Returns the shortest little-endian two's complement of a decimal number.
  ///
  /// - Throws: `ModelError` when `text` is not a decimal number or is too long.
  static func twosComplement(decimal text: String) throws -> [UInt8] {
    let isNegative = text.hasPrefix("-")
    let digits = isNegative || text.hasPrefix("+") ? Array(text.utf8.dropFirst()) : Array(text.utf8)
    guard !digits.isEmpty, digits.allSatisfy({ (0x30...0x39).contains($0) }) else {
      throw ModelError.malformed("'\(text.prefix(40))' is not an integer")
    }
    guard digits.count <= PickleMachine.integerLimit else {
      throw ModelError(
        .limitExceeded(
          what: "the digits of a pickled integer", limit: PickleMachine.integerLimit,
          found: "\(digits.count)"))
    }
    var magnitude: [UInt8] = []
    for digit in digits {
      var carry = Int(digit - 0x30)
      for index in magnitude.indices {
        let value = Int(magnitude[index]) * 10 + carry
        magnitude[index] = UInt8(truncatingIfNeeded: value)
        carry = value >> 8
      }
      if carry > 0 { magnitude.append(UInt8(carry)) }
    }
    magnitude.append(0)  // room for the sign
    var bytes = isNegative ? negated(magnitude) : magnitude
    while bytes.count > 1, let last = bytes.last, last == 0 || last == 0xFF,
      (last & 0x80) == (bytes[bytes.count - 2] & 0x80)
    {
      bytes.removeLast()
    }
    return bytes
  }

  private static func negated(_ bytes: [UInt8]) -> [UInt8] {
    var carry = 1
    return bytes.map { byte in
      let sum = Int(~byte) + carry
      carry = sum >> 8
      return UInt8(truncatingIfNeeded: sum)
    }
  }
}
