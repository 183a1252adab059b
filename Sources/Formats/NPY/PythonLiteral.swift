import Storage

/// A literal in the subset of Python's syntax that NumPy headers use.
indirect enum PythonLiteral: Hashable {
  case none
  case boolean(Bool)
  case integer(Int)
  case text(String)
  case tuple([PythonLiteral])
  case list([PythonLiteral])
  case dictionary([Entry])

  struct Entry: Hashable {
    let key: PythonLiteral
    let value: PythonLiteral
  }

  /// Parses a literal.
  ///
  /// - Throws: `ModelError` for anything but one literal surrounded by white space.
  init(parsing text: String) throws {
    var parser = PythonLiteralParser(text)
    self = try parser.parseWhole()
  }
}

/// A recursive-descent parser; the caller caps the text's length.
private struct PythonLiteralParser {
  private let scalars: [Unicode.Scalar]
  private var position = 0
  private var depth = 0

  init(_ text: String) {
    scalars = Array(text.unicodeScalars)
  }

  mutating func parseWhole() throws -> PythonLiteral {
    let literal = try parse()
    skipSpace()
    guard position == scalars.count else { throw unexpected("the end of the literal") }
    return literal
  }

  private mutating func parse() throws -> PythonLiteral {
    skipSpace()
    guard let first = next else { throw unexpected("a literal") }
    switch first {
    case "{": return .dictionary(try parseDictionary())
    case "(": return try parseTuple()
    case "[": return .list(try parseItems(closedBy: "]").items)
    case "'", "\"": return .text(try parseText())
    case "-", "0"..."9": return .integer(try parseInteger())
    default: return try parseWord()
    }
  }

  // MARK: Containers

  private mutating func parseItems(
    closedBy end: Unicode.Scalar
  ) throws -> (items: [PythonLiteral], hasTrailingComma: Bool) {
    try descend { parser in
      var items: [PythonLiteral] = []
      var hasTrailingComma = false
      while !parser.skip(end) {
        if !items.isEmpty, !hasTrailingComma { throw parser.unexpected("a comma") }
        items.append(try parser.parse())
        hasTrailingComma = parser.skip(",")
      }
      return (items, hasTrailingComma)
    }
  }

  /// Parses a parenthesized expression: `(3)` is 3 in Python, and `(3,)` is a tuple.
  private mutating func parseTuple() throws -> PythonLiteral {
    let (items, hasTrailingComma) = try parseItems(closedBy: ")")
    return items.count == 1 && !hasTrailingComma ? items[0] : .tuple(items)
  }

  private mutating func parseDictionary() throws -> [PythonLiteral.Entry] {
    try descend { parser in
      var entries: [PythonLiteral.Entry] = []
      var hasComma = true
      while !parser.skip("}") {
        guard hasComma else { throw parser.unexpected("a comma") }
        let key = try parser.parse()
        guard parser.skip(":") else { throw parser.unexpected("a colon") }
        guard !entries.contains(where: { $0.key == key }) else {
          throw parser.error("a key occurs twice")
        }
        entries.append(PythonLiteral.Entry(key: key, value: try parser.parse()))
        hasComma = parser.skip(",")
      }
      return entries
    }
  }

  /// Consumes the opening bracket and counts one nesting level.
  private mutating func descend<Result>(
    _ body: (inout PythonLiteralParser) throws -> Result
  ) throws -> Result {
    guard depth < NPYHeader.nestingLimit else {
      throw ModelError(
        .limitExceeded(
          what: "the nesting of a NumPy header", limit: NPYHeader.nestingLimit, found: "more"))
    }
    depth += 1
    position += 1
    defer { depth -= 1 }
    return try body(&self)
  }

  // MARK: Scalars

  private mutating func parseInteger() throws -> Int {
    let start = position
    if next == "-" { position += 1 }
    while let digit = next, ("0"..."9").contains(digit) { position += 1 }
    let digits = text(start..<position)
    guard let value = Int(digits), digits == "\(value)" else {
      position = start
      throw error("an integer that cannot be read")
    }
    if next == "L" { position += 1 }  // the suffix of Python 2's long integers
    return value
  }

  private mutating func parseWord() throws -> PythonLiteral {
    let start = position
    while let scalar = next, scalar.properties.isAlphabetic { position += 1 }
    switch text(start..<position) {
    case "True": return .boolean(true)
    case "False": return .boolean(false)
    case "None": return .none
    default:
      position = start
      throw unexpected("a literal")
    }
  }

  private mutating func parseText() throws -> String {
    let quote = scalars[position]
    position += 1
    var text = String.UnicodeScalarView()
    while let scalar = next {
      position += 1
      switch scalar {
      case quote: return String(text)
      case "\n": throw error("an unterminated text")
      case "\\": text.append(try parseEscape())
      default: text.append(scalar)
      }
    }
    throw error("an unterminated text")
  }

  private mutating func parseEscape() throws -> Unicode.Scalar {
    guard let kind = next else { throw error("an unterminated text") }
    position += 1
    switch kind {
    case "\\", "'", "\"": return kind
    case "n": return "\n"
    case "r": return "\r"
    case "t": return "\t"
    case "x": return try parseCode(digitCount: 2)
    case "u": return try parseCode(digitCount: 4)
    case "U": return try parseCode(digitCount: 8)
    default: throw error("an unknown escape")
    }
  }

  private mutating func parseCode(digitCount: Int) throws -> Unicode.Scalar {
    let digits = text(position..<min(position + digitCount, scalars.count))
    guard digits.count == digitCount, digits.allSatisfy(\.isHexDigit),
      let code = UInt32(digits, radix: 16), let scalar = Unicode.Scalar(code)
    else { throw error("an unknown escape") }
    position += digitCount
    return scalar
  }

  // MARK: Cursor

  private var next: Unicode.Scalar? { position < scalars.count ? scalars[position] : nil }

  private func text(_ range: Range<Int>) -> String {
    var view = String.UnicodeScalarView()
    view.append(contentsOf: scalars[range])
    return String(view)
  }

  private mutating func skipSpace() {
    while let scalar = next, scalar == " " || scalar == "\n" || scalar == "\t" { position += 1 }
  }

  private mutating func skip(_ scalar: Unicode.Scalar) -> Bool {
    skipSpace()
    guard next == scalar else { return false }
    position += 1
    return true
  }

  private func unexpected(_ expected: String) -> ModelError {
    error("expected \(expected)")
  }

  private func error(_ message: String) -> ModelError {
    .malformed("the NumPy header at its character \(position): \(message)")
  }
}
