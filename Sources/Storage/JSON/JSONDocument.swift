import CJSONC
import Glibc
import OrderedCollections

/// Parses JSON texts with json-c, restricted to RFC 8259.
///
/// On its own, json-c keeps the last of duplicate keys, truncates keys at `\u0000`, caps large
/// integers and accepts several things that are not JSON. `JSONScanner` rejects those first.
package enum JSONDocument {
  /// The default limit on the nesting of containers.
  package static let defaultDepthLimit = 64

  /// Parses `bytes` as one JSON value.
  ///
  /// Integers outside `Int` become `.number`, rounded to the nearest `Double`. Keys that differ
  /// only in Unicode normalization count as duplicates, because Swift compares them as equal.
  ///
  /// - Parameter maximumDepth: How deep containers may be nested; 1 allows `[]` but not `[[]]`.
  /// - Parameter baseOffset: The offset of `bytes` in their file, so that errors name file offsets.
  /// - Throws: `ModelError` with the byte offset of anything that RFC 8259 does not allow, invalid
  ///   UTF-8, unpaired surrogates, duplicate keys, `\u0000` in keys, numbers beyond `Double`, more
  ///   than 4,194,304 values, or anything but white space after the value.
  package static func parse(
    _ bytes: SharedBytes, maximumDepth: Int = defaultDepthLimit, baseOffset: Int = 0
  ) throws -> JSONValue {
    guard let length = Int32(exactly: bytes.count) else {
      throw ModelError(
        .limitExceeded(
          what: "a JSON text in bytes", limit: Int(Int32.max), found: "\(bytes.count)"),
        offset: baseOffset)
    }
    return try bytes.withUnsafeBytes { buffer in
      var scanner = JSONScanner(buffer, maximumDepth: maximumDepth, baseOffset: baseOffset)
      try scanner.scan()
      let root = try tree(buffer, length: length, maximumDepth, baseOffset)
      defer { json_object_put(root) }
      var longIntegers = scanner.longIntegers[...]
      let value = try convert(root, &longIntegers)
      guard longIntegers.isEmpty else {
        throw ModelError.malformed("a number is ambiguous", offset: baseOffset)
      }
      return value
    }
  }

  /// Returns json-c's tree of the text, which the caller releases; `nil` is JSON's `null`.
  private static func tree(
    _ buffer: UnsafeRawBufferPointer, length: Int32, _ maximumDepth: Int, _ baseOffset: Int
  ) throws -> OpaquePointer? {
    // json-c counts a scalar as a level of its own.
    let depth = Int32(clamping: max(1, maximumDepth)).addingReportingOverflow(1).partialValue
    guard let tokener = json_tokener_new_ex(max(1, depth)) else {
      throw ModelError(.system(operation: "allocate a JSON parser", code: ENOMEM))
    }
    defer { json_tokener_free(tokener) }
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8)
    let text = buffer.assumingMemoryBound(to: CChar.self).baseAddress
    var root = json_tokener_parse_ex(tokener, text, length)
    var end = json_tokener_get_parse_end(tokener)
    if json_tokener_get_error(tokener) == json_tokener_continue {
      // json-c completes a number at the very end only after it sees the end of the text.
      root = json_tokener_parse_ex(tokener, "", 1)
      end = buffer.count
    }
    let error = json_tokener_get_error(tokener)
    guard error == json_tokener_success else {
      let message = String(cString: json_tokener_error_desc(error))
      throw ModelError.malformed(
        "not valid JSON: \(message)", offset: baseOffset + min(Int(end), buffer.count))
    }
    return root
  }

  /// Converts json-c's tree to a `JSONValue`.
  ///
  /// - Parameter longIntegers: The integers of 19 and more digits, in the order of the text.
  private static func convert(
    _ object: OpaquePointer?, _ longIntegers: inout ArraySlice<JSONValue>
  ) throws -> JSONValue {
    guard let object else { return .null }
    switch json_object_get_type(object) {
    case json_type_boolean: return .boolean(json_object_get_boolean(object) != 0)
    case json_type_double: return .number(json_object_get_double(object))
    case json_type_int:
      let value = json_object_get_int64(object)
      if value.magnitude < JSONScanner.longIntegerMagnitude { return .integer(Int(value)) }
      // json-c has capped the value to 64 bits.
      return longIntegers.popFirst() ?? .integer(Int(value))
    case json_type_string:
      let count = Int(json_object_get_string_len(object))
      let text = UnsafeRawBufferPointer(start: json_object_get_string(object), count: count)
      return .string(String(decoding: text, as: UTF8.self))
    case json_type_array:
      return .array(
        try (0..<json_object_array_length(object)).map { index in
          try convert(json_object_array_get_idx(object, index), &longIntegers)
        })
    case json_type_object:
      var members = OrderedDictionary<String, JSONValue>(
        minimumCapacity: Int(json_object_object_length(object)))
      var iterator = json_object_iter_begin(object)
      var end = json_object_iter_end(object)
      while json_object_iter_equal(&iterator, &end) == 0 {
        let key = String(cString: json_object_iter_peek_name(&iterator))
        members[key] = try convert(json_object_iter_peek_value(&iterator), &longIntegers)
        json_object_iter_next(&iterator)
      }
      return .object(members)
    default: return .null
    }
  }
}

/// Rejects what json-c accepts in violation of RFC 8259, and what it would silently lose.
///
/// One pass over the text tracks strings, numbers and nesting; json-c checks the remaining grammar.
package struct JSONScanner {
  /// Integers of at least this magnitude are collected, because json-c caps them at 64 bits.
  static let longIntegerMagnitude: UInt64 = 1_000_000_000_000_000_000
  /// Bounds the memory used: a value takes about 50 times the bytes of the text `0,`.
  package static let valueCountLimit = 1 << 22

  /// The integers of 19 and more digits, in the order of the text.
  private(set) var longIntegers: [JSONValue] = []
  private let bytes: UnsafeRawBufferPointer
  private let maximumDepth: Int
  private let baseOffset: Int
  private var position = 0
  private var valueCount = 0
  private var containers: [Container] = []

  private struct Container {
    let isObject: Bool
    var expectsKey: Bool
    var keys: Set<String> = []
  }

  package init(_ bytes: UnsafeRawBufferPointer, maximumDepth: Int, baseOffset: Int) {
    self.bytes = bytes
    self.maximumDepth = maximumDepth
    self.baseOffset = baseOffset
  }

  /// Scans the whole text.
  ///
  /// - Throws: `ModelError` with the offset of the first violation.
  package mutating func scan() throws {
    try validateUTF8()
    while position < bytes.count {
      let byte = bytes[position]
      switch byte {
      case UInt8(ascii: " "), UInt8(ascii: "\t"), UInt8(ascii: "\n"), UInt8(ascii: "\r"),
        UInt8(ascii: ":"):
        position += 1
      case UInt8(ascii: "{"), UInt8(ascii: "["):
        try open(isObject: byte == UInt8(ascii: "{"))
      case UInt8(ascii: "}"), UInt8(ascii: "]"):
        guard containers.popLast() != nil else { throw unexpected() }
        position += 1
      case UInt8(ascii: ","):
        guard !containers.isEmpty else { throw unexpected() }
        containers[containers.count - 1].expectsKey = containers[containers.count - 1].isObject
        position += 1
      case UInt8(ascii: "\""): try scanString()
      case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): try scanNumber()
      case UInt8(ascii: "t"): try scanLiteral("true")
      case UInt8(ascii: "f"): try scanLiteral("false")
      case UInt8(ascii: "n"): try scanLiteral("null")
      default: throw unexpected()
      }
    }
  }

  private mutating func open(isObject: Bool) throws {
    try countValue()
    guard containers.count < maximumDepth else {
      throw ModelError(
        .limitExceeded(
          what: "the nesting of JSON containers", limit: maximumDepth,
          found: "\(containers.count + 1)"), offset: baseOffset + position)
    }
    containers.append(Container(isObject: isObject, expectsKey: isObject))
    position += 1
  }

  private mutating func countValue() throws {
    valueCount += 1
    guard valueCount <= Self.valueCountLimit else {
      throw ModelError(
        .limitExceeded(
          what: "the number of JSON values", limit: Self.valueCountLimit, found: "more"),
        offset: baseOffset + position)
    }
  }

  // MARK: Strings

  private mutating func scanString() throws {
    let start = position
    position += 1
    var hasEscapes = false
    while true {
      guard position < bytes.count else { throw error("an unterminated JSON string", at: start) }
      switch bytes[position] {
      case UInt8(ascii: "\""):
        let content = UnsafeRawBufferPointer(rebasing: bytes[(start + 1)..<position])
        position += 1
        try finishString(content, hasEscapes: hasEscapes, start: start)
        return
      case UInt8(ascii: "\\"):
        hasEscapes = true
        position += 2  // the escaped character may be a quotation mark
      case ..<0x20: throw error("a control character in a JSON string", at: position)
      default: position += 1
      }
    }
  }

  private mutating func finishString(
    _ content: UnsafeRawBufferPointer, hasEscapes: Bool, start: Int
  ) throws {
    guard let last = containers.indices.last, containers[last].expectsKey else {
      try countValue()
      if hasEscapes { _ = try unescape(content, start: start) }
      return
    }
    containers[last].expectsKey = false
    let key =
      hasEscapes
      ? try unescape(content, start: start) : String(decoding: content, as: UTF8.self)
    if key.utf8.contains(0) { throw error("a JSON key contains \\u0000", at: start) }
    guard containers[last].keys.insert(key).inserted else {
      throw error("the JSON key '\(key)' occurs twice", at: start)
    }
  }

  /// Returns the characters that a string with escapes represents.
  private func unescape(_ content: UnsafeRawBufferPointer, start: Int) throws -> String {
    var units: [UInt16] = []
    var rest = content[...]
    while let byte = rest.first {
      guard byte == UInt8(ascii: "\\") else {
        let end = rest.firstIndex(of: UInt8(ascii: "\\")) ?? rest.endIndex
        units += String(decoding: rest[..<end], as: UTF8.self).utf16
        rest = rest[end...]
        continue
      }
      let code = rest.dropFirst().first
      rest = rest.dropFirst(2)
      switch code {
      case UInt8(ascii: "u"):
        let digits = String(decoding: rest.prefix(4), as: UTF8.self)
        guard rest.count >= 4, digits.utf8.allSatisfy({ isHexadecimalDigit($0) }),
          let unit = UInt16(digits, radix: 16)
        else { throw error("an incomplete \\u escape in a JSON string", at: start) }
        units.append(unit)
        rest = rest.dropFirst(4)
      case UInt8(ascii: "b"): units.append(0x08)
      case UInt8(ascii: "f"): units.append(0x0C)
      case UInt8(ascii: "n"): units.append(0x0A)
      case UInt8(ascii: "r"): units.append(0x0D)
      case UInt8(ascii: "t"): units.append(0x09)
      case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): units.append(UInt16(code!))
      default: throw error("an unknown escape in a JSON string", at: start)
      }
    }
    guard let text = String(validating: units, as: UTF16.self) else {
      throw error("an unpaired surrogate in a JSON string", at: start)
    }
    return text
  }

  private func isHexadecimalDigit(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"),
      UInt8(ascii: "A")...UInt8(ascii: "F"):
      true
    default: false
    }
  }

  // MARK: Numbers and literals

  /// `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`
  private mutating func scanNumber() throws {
    try countValue()
    let start = position
    skip(UInt8(ascii: "-"))
    let firstDigit = position
    let digitCount = skipDigits()
    guard digitCount == 1 || digitCount > 1 && bytes[firstDigit] != UInt8(ascii: "0") else {
      throw error("a malformed JSON number", at: start)
    }
    var isInteger = true
    if skip(UInt8(ascii: ".")) {
      isInteger = false
      guard skipDigits() > 0 else { throw error("a malformed JSON number", at: start) }
    }
    if skip(UInt8(ascii: "e")) || skip(UInt8(ascii: "E")) {
      isInteger = false
      if !skip(UInt8(ascii: "+")) { skip(UInt8(ascii: "-")) }
      guard skipDigits() > 0 else { throw error("a malformed JSON number", at: start) }
    }
    guard !isInteger || digitCount >= 19 else { return }
    let text = String(decoding: bytes[start..<position], as: UTF8.self)
    guard let value = Double(text), value.isFinite else {
      throw error("a JSON number beyond the range of a Double", at: start)
    }
    if isInteger { longIntegers.append(Int(text).map(JSONValue.integer) ?? .number(value)) }
  }

  private mutating func scanLiteral(_ literal: StaticString) throws {
    try countValue()
    let count = literal.utf8CodeUnitCount
    let expected = UnsafeBufferPointer(start: literal.utf8Start, count: count)
    guard bytes[position...].prefix(count).elementsEqual(expected) else { throw unexpected() }
    position += count
  }

  @discardableResult
  private mutating func skip(_ byte: UInt8) -> Bool {
    guard position < bytes.count, bytes[position] == byte else { return false }
    position += 1
    return true
  }

  private mutating func skipDigits() -> Int {
    let start = position
    while position < bytes.count, bytes[position] &- UInt8(ascii: "0") < 10 { position += 1 }
    return position - start
  }

  // MARK: Errors

  private func validateUTF8() throws {
    // json-c accepts overlong forms and encoded surrogates.
    if String(validating: bytes, as: UTF8.self) != nil { return }
    var decoder = UTF8()
    var iterator = bytes.makeIterator()
    var offset = 0
    while case .scalarValue(let scalar) = decoder.decode(&iterator) {
      offset += UTF8.width(scalar)
    }
    throw error("a JSON text that is not valid UTF-8", at: offset)
  }

  private func unexpected() -> ModelError {
    error("an unexpected character in a JSON text", at: position)
  }

  private func error(_ message: String, at position: Int) -> ModelError {
    .malformed(message, offset: baseOffset + min(position, bytes.count))
  }
}
