import Foundation
import Storage
import Testing

@Suite struct JSONDocumentTests {
  private func parse(_ text: String, maximumDepth: Int = 64) throws -> JSONValue {
    try JSONDocument.parse(SharedBytes(text.utf8), maximumDepth: maximumDepth)
  }

  @Test(arguments: [
    ("null", JSONValue.null), ("true", .boolean(true)), ("false", .boolean(false)),
    ("0", .integer(0)), ("-1", .integer(-1)), (" \t\r\n7 \n", .integer(7)),
    ("1.0", .number(1)), ("-0.0", .number(-0.0)), ("1e2", .number(100)), ("1E+2", .number(100)),
    ("\"\"", .string("")), ("\"a\\u0000b\"", .string("a\0b")),
    ("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", .string("\"\\/\u{8}\u{C}\n\r\t")),
    ("\"\\ud83d\\ude00 é\"", .string("😀 é")),
    ("[]", .array([])), ("{}", .object([:])),
    (
      "[1, [2, {\"a\": null}]]",
      .array([.integer(1), .array([.integer(2), .object(["a": .null])])])
    ),
  ])
  func readsValues(text: String, expected: JSONValue) throws {
    #expect(try parse(text) == expected)
  }

  @Test func keepsMemberOrder() throws {
    let value = try parse(#"{"z": 1, "a": 2, "": 3, "m": {"b": 4, "a": 5}}"#)
    #expect(
      value
        == .object([
          "z": .integer(1), "a": .integer(2), "": .integer(3),
          "m": .object(["b": .integer(4), "a": .integer(5)]),
        ]))
  }

  /// json-c silently caps all of these at 64 bits.
  @Test func integersOutsideIntBecomeNumbers() throws {
    let text = """
      [9223372036854775807, 9223372036854775808, 18446744073709551616, 1000000000000000000,
       -9223372036854775808, -9223372036854775809, 123456789012345678901234567890]
      """
    #expect(
      try parse(text)
        == .array([
          .integer(.max), .number(9_223_372_036_854_775_808), .number(18_446_744_073_709_551_616),
          .integer(1_000_000_000_000_000_000), .integer(.min),
          .number(-9_223_372_036_854_775_808), .number(1.2345678901234568e29),
        ]))
  }

  @Test(arguments: [
    (#"{"a": 1, "a": 2}"#, "the JSON key 'a' occurs twice", 9),
    (#"{"a": 1, "\u0061": 2}"#, "the JSON key 'a' occurs twice", 9),
    (#"{"x": {"b": 1, "c": [], "b": 2}}"#, "the JSON key 'b' occurs twice", 24),
    ("{\"e\u{301}\": 1, \"\u{e9}\": 2}", "the JSON key '\u{e9}' occurs twice", 11),
    (#"{"a\u0000b": 1}"#, "a JSON key contains \\u0000", 1),
    (#"["\ud800"]"#, "an unpaired surrogate in a JSON string", 1),
    (#"["\udc00\ud800"]"#, "an unpaired surrogate in a JSON string", 1),
    (#"["\u12g4"]"#, "an incomplete \\u escape in a JSON string", 1),
    (#"["\u+123"]"#, "an incomplete \\u escape in a JSON string", 1),
    (#"["\x41"]"#, "an unknown escape in a JSON string", 1),
    ("[\"a\nb\"]", "a control character in a JSON string", 3),
    ("[\"abc", "an unterminated JSON string", 1),
    ("[\"abc\\\"", "an unterminated JSON string", 1),
    ("[01]", "a malformed JSON number", 1), ("-01", "a malformed JSON number", 0),
    ("[1.]", "a malformed JSON number", 1), ("[1e]", "a malformed JSON number", 1),
    ("-", "a malformed JSON number", 0),
    ("[1e400]", "a JSON number beyond the range of a Double", 1),
    ("[NaN]", "an unexpected character in a JSON text", 1),
    ("Infinity", "an unexpected character in a JSON text", 0),
    ("{'a': 1}", "an unexpected character in a JSON text", 1),
    ("{a: 1}", "an unexpected character in a JSON text", 1),
    ("[1] // c", "an unexpected character in a JSON text", 4),
    ("/* c */ 1", "an unexpected character in a JSON text", 0),
    ("[True]", "an unexpected character in a JSON text", 1),
    ("[tru]", "an unexpected character in a JSON text", 1),
    ("1\0", "an unexpected character in a JSON text", 1),
    ("\u{FEFF}{}", "an unexpected character in a JSON text", 0),
    ("]", "an unexpected character in a JSON text", 0),
    ("[1, ]", "not valid JSON: unexpected character", 4),
    (#"{"a": 1,}"#, "not valid JSON: unexpected character", 8),
    ("[1 2]", "not valid JSON: array value separator ',' expected", 3),
    ("[1}", "not valid JSON: array value separator ',' expected", 2),
    (#"{"a" 1}"#, "not valid JSON: object property name separator ':' expected", 5),
    ("[] []", "not valid JSON: unexpected character", 3),
    ("[", "not valid JSON: unexpected end of data", 1),
    ("", "not valid JSON: unexpected end of data", 0),
  ])
  func refusesInvalidJSON(text: String, message: String, offset: Int) {
    #expect(throws: ModelError.malformed(message, offset: offset)) { try parse(text) }
  }

  @Test(
    arguments: [
      ([0x22, 0xC0, 0x80, 0x22], 1), ([0x22, 0x61, 0xED, 0xA0, 0x80, 0x22], 2),
      ([0x5B, 0x5D, 0xFF], 2), ([0x22, 0xC3, 0xA9, 0xF5, 0x80, 0x80, 0x80, 0x22], 3),
    ] as [([UInt8], Int)])
  func refusesInvalidUTF8(bytes: [UInt8], offset: Int) {
    #expect(
      throws: ModelError.malformed("a JSON text that is not valid UTF-8", offset: 100 + offset)
    ) {
      try JSONDocument.parse(SharedBytes(bytes), baseOffset: 100)
    }
  }

  @Test(arguments: [1, 2, 33, 64]) func limitsNestingDepth(depth: Int) throws {
    func nested(_ count: Int) -> String {
      String(repeating: "[", count: count) + String(repeating: "]", count: count)
    }
    _ = try parse(nested(depth), maximumDepth: depth)
    let scalarInside = nested(depth).replacingOccurrences(of: "[]", with: "[{}, 1]")
    _ = try parse(scalarInside.replacingOccurrences(of: "{}, ", with: ""), maximumDepth: depth)
    #expect(
      throws: ModelError(
        .limitExceeded(
          what: "the nesting of JSON containers", limit: depth, found: "\(depth + 1)"),
        offset: depth)
    ) {
      try parse(nested(depth + 1), maximumDepth: depth)
    }
  }

  @Test(arguments: [
    (JSONValue.null, "null"), (.boolean(true), "true"), (.integer(.min), "-9223372036854775808"),
    (.number(1), "1.0"), (.number(0.1), "0.1"), (.number(-0.0), "-0.0"), (.number(1e300), "1e+300"),
    (.number(.leastNonzeroMagnitude), "5e-324"), (.number(.infinity), "null"),
    (.number(.nan), "null"),
    (.string("a\"\\/\n\u{1}\u{7F}é😀"), "\"a\\\"\\\\/\\n\\u0001\u{7F}é😀\""),
    (.array([]), "[]"), (.object([:]), "{}"),
    (.object(["b": .array([.integer(1), .null]), "a": .string("")]), #"{"b":[1,null],"a":""}"#),
  ])
  func serializesCompactly(value: JSONValue, text: String) {
    #expect(value.serialized() == text)
  }

  @Test func serializesWithIndentation() {
    let value = JSONValue.object([
      "a": .array([.integer(1), .integer(2)]), "b": .object([:]), "c": .array([]),
      "d": .array([.object(["e": .null])]),
    ])
    #expect(
      value.serialized(pretty: true) == """
        {
          "a": [1, 2],
          "b": {},
          "c": [],
          "d": [
            {
              "e": null
            }
          ]
        }
        """)
  }

  @Test(arguments: [true, false]) func serializedTextParsesBack(pretty: Bool) throws {
    let value = JSONValue.object([
      "": .array([.number(0.1), .number(1e-7), .number(123456789.125), .integer(.max), .null]),
      "käy \"n\"\t\u{0}".replacingOccurrences(of: "\0", with: ""): .string("\0\u{2028}"),
      "nested": .object(["x": .array([.array([.boolean(false)])])]),
    ])
    #expect(try parse(value.serialized(pretty: pretty)) == value)
  }
}
