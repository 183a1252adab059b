/// Integers of any length, between a pickle's two's complement and decimal digits.
enum PickleInteger {
  /// The integer of a little-endian two's complement; no bytes are zero.
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

  /// The integer of decimal digits with an optional sign.
  ///
  /// - Throws: `FormatError` for anything else, or more digits than the machine's limit.
  static func node(decimal text: String) throws -> PickleGraph.Node {
    if let value = Int(text) { return .integer(value) }
    return node(littleEndian: try twosComplement(decimal: text))
  }

  /// The shortest little-endian two's complement of a decimal number.
  ///
  /// - Throws: `FormatError` when `text` is no decimal number or too long.
  static func twosComplement(decimal text: String) throws -> [UInt8] {
    let isNegative = text.hasPrefix("-")
    let digits = isNegative || text.hasPrefix("+") ? Array(text.utf8.dropFirst()) : Array(text.utf8)
    guard !digits.isEmpty, digits.allSatisfy({ (0x30...0x39).contains($0) }) else {
      throw FormatError.malformed("'\(text.prefix(40))' is not an integer")
    }
    guard digits.count <= PickleMachine.integerLimit else {
      throw FormatError(
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
